"""The baseline that tells voices apart by pitch, on tones whose pitch is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.paper.casa import at_harmonics, by_pitch, find_tracks, speakers_of, strongest_pitch
from benchmarks.paper.hearing import Heard, hear
from benchmarks.paper.rows import MAIN
from tests.benchmarks.conftest import ROOT
from unmingle.model.signal import stft
from unmingle.training.evaluation.mixture_list import read_list

CONFIG = MAIN.config("nowhere", 1.0, 0).network
RATE = CONFIG.sample_rate


def tone(pitch_hz: np.ndarray) -> np.ndarray:
    """Ten harmonics of a pitch that may glide; silence where it is 0."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE
    return sum(np.sin(n * phase) / n for n in range(1, 11)) * (pitch_hz > 0)


def magnitude_of(signal: np.ndarray) -> np.ndarray:
    return np.abs(stft.analyse(signal.astype(np.float32), CONFIG.window, CONFIG.hop))


@pytest.mark.parametrize("pitch_hz", [90.0, 127.0, 211.0, 303.0])
def test_the_pitch_is_found(pitch_hz: float) -> None:
    found = strongest_pitch(magnitude_of(tone(np.full(RATE, pitch_hz))), CONFIG)[4:-4]
    assert np.abs(np.log2(found / pitch_hz)).max() < 0.02


def test_noise_and_silence_have_none() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert (strongest_pitch(magnitude_of(noise), CONFIG) > 0).mean() < 0.1
    assert not strongest_pitch(magnitude_of(np.zeros(RATE)), CONFIG).any()


def test_a_track_ends_where_the_pitch_stops_or_jumps() -> None:
    pitch = np.array([0, 0, 100, 102, 104, 0, 200, 201, 202, 120, 121, 122, 0, 300, 0], float)
    assert [(track.start, len(track.pitch_hz)) for track in find_tracks(pitch)] == [(2, 3), (6, 3), (9, 3)]
    assert find_tracks(np.zeros(0)) == find_tracks(np.zeros(5)) == []


def test_tracks_of_one_voice_go_to_one_speaker() -> None:
    pitch = np.repeat([100.0, 0, 210, 0, 104, 0, 205, 0, 98], 5)
    assert speakers_of(find_tracks(pitch), 2) in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1])


def test_harmonics_are_claimed_and_what_lies_between_is_not() -> None:
    (claimed,) = at_harmonics(np.array([200.0]), CONFIG)
    hz = np.flatnonzero(claimed) * RATE / CONFIG.window
    assert np.abs(hz - 200.0 * np.round(hz / 200.0)).max() <= 30.0
    assert claimed.mean() < 0.5 and not claimed[0]


def test_two_voices_that_take_turns_are_told_apart() -> None:
    """A low and a high one, one after the other, twice; each gets what is at its harmonics, which is all of it."""
    turns = np.repeat([100.0, 0, 220, 0, 104, 0, 215, 0], RATE // 2)
    low, high = (tone(np.where((turns > 0) & ((turns > 150) == is_high), turns, 0.0)) for is_high in (False, True))
    listed = read_list(ROOT / "examples" / "list.csv")[0]
    sources = np.stack((low, high)).astype(np.float32)
    spectra = stft.analyse(sources, CONFIG.window, CONFIG.hop)
    heard = dataclasses.replace(
        hear(listed, CONFIG), sources=sources, spectra=spectra, magnitude=np.abs(spectra.sum(0)).astype(np.float32)
    )
    masks = by_pitch(heard)(heard.whole)
    np.testing.assert_allclose(masks.sum(0), 1.0, atol=1e-6)
    # The mixture of who never speaks at once is half of each, and each has it nearly alone afterwards.
    assert heard.improvement_db(masks) > 6.0


def test_masks_share_out_everything_however_many_there_are() -> None:
    for listed in read_list(ROOT / "examples" / "list.csv"):
        heard: Heard = hear(listed, CONFIG)
        masks = by_pitch(heard)(heard.whole)
        assert masks.shape == (len(heard.sources), *heard.magnitude.shape)
        np.testing.assert_allclose(masks.sum(0), 1.0, atol=1e-6)
