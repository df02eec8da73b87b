"""What a speaker encoder hears: log energies of mel bands, whatever the level."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.diarisation.filter_bank import BANDS, log_energies

RATE = 16_000


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


def middles_hz() -> np.ndarray:
    """The middle of each band: from 20 Hz to 8 kHz, evenly spaced in mel."""
    lowest, highest = (1127.0 * np.log(1.0 + f / 700.0) for f in (20.0, 8_000.0))
    return 700.0 * np.expm1(np.linspace(lowest, highest, 82)[1:-1] / 1127.0)


@pytest.mark.parametrize(
    "samples,frames", [(400, 1), (559, 1), (560, 2), (719, 2), (720, 3), (RATE, 98), (10 * RATE + 1, 998)]
)
def test_there_is_a_frame_of_25_ms_every_10_ms(samples, frames):
    energies = log_energies(noise(samples))
    assert energies.shape == (frames, BANDS) == (frames, 80)
    assert energies.dtype == np.float32


def test_the_mean_over_time_is_zero_in_each_band(example):
    case = example("two_speakers")
    for signal in (noise(RATE), case.mixture, *case.sources):
        np.testing.assert_allclose(log_energies(signal).mean(0), 0.0, atol=1e-4)


@pytest.mark.parametrize("level", [1e-3, 30.0, 1e9])
def test_level_does_not_matter(example, level):
    mixture = example("two_speakers").mixture
    np.testing.assert_allclose(log_energies(mixture * np.float32(level)), log_energies(mixture), atol=0.01)


def test_an_offset_does_not_matter(example):
    mixture = example("two_speakers").mixture
    apart = np.abs(log_energies(mixture + np.float32(0.1)) - log_energies(mixture))
    assert np.quantile(apart, 0.99) < 0.1  # samples are rounded
    assert apart.mean() < 0.01


@pytest.mark.parametrize("earlier,later", [(6, 70), (20, 60), (45, 30), (78, 12)])
def test_a_tone_is_loudest_in_the_band_in_which_it_lies(earlier, later):
    """Two tones, one after the other, over a little noise: each band beside itself in the other half."""
    hz = middles_hz()
    time = np.arange(RATE) / RATE
    tones = np.concatenate([np.sin(2.0 * np.pi * hz[band] * time) for band in (earlier, later)])
    first, second = np.array_split(log_energies(tones.astype(np.float32) + 1e-3 * noise(2 * RATE)), 2)
    louder = first.mean(0) - second.mean(0)
    assert louder.argmax() == earlier
    assert louder.argmin() == later
    assert louder[earlier] > 5.0
    assert louder[later] < -5.0


def test_what_is_heard_later_does_not_move_what_was_heard_before(example):
    """But for the mean: a frame is of its own 25 ms only."""
    mixture = example("two_speakers").mixture
    mixture[RATE // 2] = 2.0 * np.abs(mixture).max()  # levels are told by the loudest sample
    whole, begin = log_energies(mixture), log_energies(mixture[:RATE])
    np.testing.assert_allclose(np.diff(whole[: len(begin)], axis=0), np.diff(begin, axis=0), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_silence_gives_zeros(value):
    np.testing.assert_allclose(log_energies(np.full(RATE, value, np.float32)), 0.0, atol=1e-4)
