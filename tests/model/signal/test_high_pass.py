"""The high-pass takes away what nobody hears, leaves voices alone, and does not depend on how a signal is cut."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.signal.high_pass import CUTOFF_HZ, HighPass, kernel

RATE = 16_000


def filtered(signal, *cuts, rate=RATE):
    """Through the filter in pieces that begin at `cuts`."""
    filtering = HighPass(rate, len(signal))
    pieces = [filtering.push(piece) for piece in np.split(signal, cuts, axis=-1)]
    return np.concatenate((*pieces, filtering.finish()), axis=-1)


def tone(hz, rate=RATE, seconds=2):
    return np.sin(2 * np.pi * hz * np.arange(seconds * rate) / rate).astype(np.float32)[None]


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("hz", [0.0, 20.0, 50.0])
def test_dc_rumble_and_mains_are_40_db_down(hz, rate):
    wave = np.ones((1, 2 * rate), np.float32) if hz == 0 else tone(hz, rate)
    inner = slice(rate // 2, -rate // 2)
    assert np.abs(filtered(wave, rate=rate)[:, inner]).max() < 0.01


@pytest.mark.parametrize("hz", [110.0, 150.0, 1_000.0, 7_900.0])
def test_what_is_heard_is_left_as_it_is_and_in_step(hz):
    inner = slice(RATE // 2, -RATE // 2)
    np.testing.assert_allclose(filtered(tone(hz))[:, inner], tone(hz)[:, inner], atol=0.005)


def test_half_of_the_amplitude_is_left_at_the_cutoff():
    taps = kernel(RATE)
    assert abs(np.fft.rfft(taps, 50 * RATE)[round(50 * CUTOFF_HZ)]) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(taps, taps[::-1])


@pytest.mark.parametrize("samples", [0, 1, 659, 5_000, 40_000])
def test_there_is_as_much_as_was_given_however_it_is_cut(samples):
    signal = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    whole = filtered(signal)
    assert whole.shape == signal.shape
    for cuts in ([samples // 2], list(range(0, samples, 977)), [0, 0, samples]):
        np.testing.assert_allclose(filtered(signal, *cuts), whole, atol=1e-6)
    padded = np.pad(signal, ((0, 0), (1_000, 1_000)))
    by_hand = np.stack([np.convolve(channel, kernel(RATE), "same") for channel in padded])
    np.testing.assert_allclose(whole, by_hand[:, 1_000 : 1_000 + samples], atol=1e-4)


def test_silence_stays_silence():
    assert not filtered(np.zeros((1, RATE), np.float32)).any()
