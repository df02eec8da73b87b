"""A sound that is no voice is a source where it is asked for, and background where voices alone are: on real speech."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.metrics import si_sdr_db
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model

RATE = 16_000


@pytest.fixture(scope="module")
def separator():
    return Separator.load(bundled_model(), "cpu")


def rushing_tap(samples):
    return np.random.default_rng(1).standard_normal(samples)


def bell(samples):
    """Struck every 0.7 seconds."""
    time = np.arange(samples) / RATE
    return sum(np.sin(2 * np.pi * hz * time) for hz in (523.0, 1310.0, 2093.0)) * np.exp(-4.0 * (time % 0.7))


def as_loud_as(sound, speech):
    return (sound * np.sqrt(np.square(speech).mean() / np.square(sound).mean())).astype(np.float32)


def best_order_db(stems, sources):
    return max(float(si_sdr_db(stems[order], sources).mean()) for order in ([0, 1], [1, 0]))


@pytest.mark.parametrize(("make", "least_db"), [(rushing_tap, 7.0), (bell, 9.0)])
def test_a_sound_beside_one_speaker_is_the_second_of_two_sources(separator, example, make, least_db):
    speech = example("two_speakers").sources[0]
    sound = as_loud_as(make(len(speech)), speech)
    result = separator.separate(speech + sound, RATE, 2)
    assert best_order_db(result.stems, np.stack([speech, sound])) > least_db
    assert np.square(result.background).mean() < 0.01 * np.square(sound).mean()


@pytest.mark.parametrize("below_db", [0.0, 5.0])
def test_the_same_sound_behind_two_speakers_is_background(separator, example, below_db):
    sources = example("two_speakers").sources
    noise = as_loud_as(rushing_tap(sources.shape[-1]), sources.sum(0)) * np.float32(10 ** (-below_db / 20))
    mixture = sources.sum(0) + noise
    result = separator.separate(mixture, RATE, 2)
    assert best_order_db(result.stems, sources) > best_order_db(np.stack([mixture, mixture]), sources) + 6.0
    assert float(si_sdr_db(result.background, noise)) > 2.0
