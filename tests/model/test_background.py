"""Noise, music and hum have a place of their own: a stem, no voice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from unmingle.model.clustering.background import Foreground
from unmingle.model.config import ModelConfig
from unmingle.model.metrics import si_sdr_db
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator

RATE = 16_000
KNOWING = ModelConfig(high_group=1, embedding_dim=8, background_sharpness=5.0)


@pytest.fixture(scope="module")
def knowing(oracle):
    """Makes embedders that know the first of the sources to be the background."""

    class Knowing(oracle):
        def __init__(self, background, sources):
            super().__init__(np.concatenate((background[None], sources)), KNOWING)
            voices = self.embeddings[..., 0] == 0
            self.embeddings[voices, 0] = -1.0
            self.embeddings[voices] /= np.sqrt(2.0, dtype=np.float32)

    return Knowing


@pytest.fixture(scope="module")
def noisy(example):
    """Two speakers, and noise 5 dB below them: (2, samples) and (samples,)."""
    sources = example("two_speakers").sources
    rng = np.random.default_rng(1)
    level = np.sqrt(np.square(sources.sum(0)).mean()) * 10 ** (-5 / 20)
    return sources, (level * rng.standard_normal(sources.shape[-1])).astype(np.float32)


def separated(knowing, noisy, background):
    sources, noise = noisy
    options = SeparationOptions(2, background=background)
    return Separator(knowing(noise, sources)).separate(sources.sum(0) + noise, RATE, options=options)


def scores(stems, sources):
    """SI-SDR of the best order, in dB."""
    return max(float(si_sdr_db(stems[order], sources).mean()) for order in ([0, 1], [1, 0]))


def test_noise_goes_into_a_stem_of_its_own(knowing, noisy):
    sources, noise = noisy
    apart, shared = (separated(knowing, noisy, mode) for mode in ("stem", "share"))
    assert scores(apart.stems, sources) > scores(shared.stems, sources) + 3.0
    assert float(si_sdr_db(apart.background, noise)) > 8.0


def test_stems_and_background_add_up_to_the_recording(knowing, noisy):
    mixture = noisy[0].sum(0) + noisy[1]
    apart, shared = (separated(knowing, noisy, mode) for mode in ("stem", "share"))
    np.testing.assert_allclose(apart.stems.sum(0) + apart.background, mixture, atol=2e-6)
    assert shared.background is None
    np.testing.assert_allclose(shared.stems.sum(0), mixture, atol=2e-6)


def test_a_background_that_is_dropped_is_not_in_the_stems(knowing, noisy):
    apart, dropped = (separated(knowing, noisy, mode) for mode in ("stem", "drop"))
    assert dropped.background is None
    np.testing.assert_array_equal(dropped.stems, apart.stems)


def test_a_model_that_knows_a_background_gives_it_a_stem_unless_told_otherwise(knowing, noisy):
    plain = separated(knowing, noisy, None)
    np.testing.assert_array_equal(plain.background, separated(knowing, noisy, "stem").background)


def test_a_model_that_knows_none_leaves_it_in_the_stems(oracle, noisy):
    sources, noise = noisy
    embedder = oracle(sources, dataclasses.replace(KNOWING, background_sharpness=0.0))
    plain = Separator(embedder).separate(sources.sum(0) + noise, RATE, 2)
    assert plain.background is None
    np.testing.assert_allclose(plain.stems.sum(0), sources.sum(0) + noise, atol=2e-6)


def test_where_there_is_only_background_it_is_what_is_separated(knowing, noisy):
    _, noise = noisy
    nobody = np.zeros((2, len(noise)), np.float32)
    result = Separator(knowing(noise, nobody)).separate(noise, RATE, 1)
    np.testing.assert_allclose(result.stems[0], noise, atol=2e-6)
    assert not np.any(np.abs(result.background) > 2e-6)


def test_what_nobody_can_hear_is_background(knowing, noisy):
    sources, noise = noisy
    rumble = (0.1 * np.sin(2 * np.pi * 20.0 * np.arange(len(noise)) / RATE)).astype(np.float32)
    separator = Separator(knowing(0 * noise, sources))
    quiet = separator.separate(sources.sum(0), RATE, 2)
    result = separator.separate(sources.sum(0) + rumble + np.float32(0.1), RATE, 2)
    assert scores(result.stems, quiet.stems) > 20.0
    assert float(si_sdr_db(result.background, rumble + 0.1)) > 20.0


def test_foreground_is_what_is_left_of_the_weight():
    foreground = Foreground()
    assert foreground.share == 1.0
    weights = np.ones((100, 10), np.float32)
    foreground.add(weights, 0.02 * weights)
    assert foreground.share == pytest.approx(0.02)
    assert not foreground.exists
    # Half a second of a voice in much noise is somebody.
    foreground.add(np.ones((70, 10), np.float32), np.ones((70, 10), np.float32))
    foreground.add(np.ones((5000, 10), np.float32), np.zeros((5000, 10), np.float32))
    assert foreground.share < 0.05
    assert foreground.exists
