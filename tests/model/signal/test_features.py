"""Features do not depend on level, survive silence, and are the ones the network was trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.signal import features, stft
from unmingle.training.mixtures import make_batch, samples_for

CONFIG = ModelConfig()


def power_of(signal):
    return np.square(np.abs(stft.analyse(signal, CONFIG.window, CONFIG.hop)))


@pytest.mark.parametrize("gain", [1e-4, 0.1, 30.0])
def test_level_changes_nothing(example, gain):
    signal = example("two_speakers").mixture
    quiet = features.log_magnitude(features.band_magnitude(power_of(signal), CONFIG), CONFIG.floor_db)
    loud = features.log_magnitude(features.band_magnitude(power_of(gain * signal), CONFIG), CONFIG.floor_db)
    assert np.abs(quiet - loud).max() < 1e-3


def test_silence_is_the_floor_everywhere():
    observed = features.log_magnitude(np.zeros((7, CONFIG.bands), np.float32), CONFIG.floor_db)
    np.testing.assert_allclose(observed, np.log(10 ** (CONFIG.floor_db / 20)), rtol=1e-5)


def test_bands_hold_all_the_power():
    power = np.random.default_rng(0).random((5, CONFIG.bins)).astype(np.float32)
    bands = features.band_magnitude(power, CONFIG)
    slow = [
        np.sqrt(power[:, start:end].sum(1))
        for start, end in zip(CONFIG.band_starts, (*CONFIG.band_starts[1:], CONFIG.bins), strict=True)
    ]
    np.testing.assert_allclose(bands, np.stack(slow, 1), rtol=1e-5)


def test_without_groups_bands_are_bins():
    config = dataclasses.replace(CONFIG, high_group=1)
    assert config.bands == config.bins
    power = np.random.default_rng(0).random((5, config.bins)).astype(np.float32)
    np.testing.assert_allclose(features.band_magnitude(power, config), np.sqrt(power), rtol=1e-6)


def test_the_trainer_shows_the_network_the_same_features(example):
    sources = example("two_speakers").sources[:, : samples_for(200, CONFIG)]
    batch = make_batch(torch.from_numpy(sources)[None], CONFIG)
    # The frames that lie wholly inside the signal, as the trainer's do; levels are relative to what is shown.
    inside = stft.analyse(sources.sum(0), CONFIG.window, CONFIG.hop)[CONFIG.window // CONFIG.hop - 1 :][:200]
    ours = features.log_magnitude(features.band_magnitude(np.square(np.abs(inside)), CONFIG), CONFIG.floor_db)
    assert batch.features.shape == (1, 200, CONFIG.bands)
    assert np.abs(batch.features[0].numpy() - ours).max() < 1e-3


def test_weights_leave_out_what_is_not_active():
    magnitude = np.array([[1.0, 0.011, 0.009, 0.0]], np.float32)
    np.testing.assert_allclose(features.clustering_weights(magnitude), [[1.0, 0.011, 0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (3, 5)])
def test_weights_of_silence_are_zero(shape):
    assert not features.clustering_weights(np.zeros(shape, np.float32)).any()
