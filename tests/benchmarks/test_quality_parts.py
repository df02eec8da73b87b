"""Pitch and the choice of mixtures of docs/quality.md are what the page says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.quality.conditions import drawn
from benchmarks.quality.pitch import median_pitch_hz
from benchmarks.quality.tables import semitones
from tests.benchmarks.conftest import ROOT
from unmingle.training.evaluation.mixture_list import ListedMixture, Part

RATE = 16_000


@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 210.0, 330.0])
def test_the_pitch_of_a_harmonic_sound_is_found(pitch_hz):
    time = np.arange(RATE) / RATE
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 8))
    assert median_pitch_hz(np.asarray(harmonics, np.float32), RATE) == pytest.approx(pitch_hz, rel=0.02)


def test_a_woman_speaks_higher_than_a_man_and_noise_has_no_pitch():
    woman, man = (
        median_pitch_hz(
            soundfile.read(ROOT / "examples" / "two_speakers" / f"source_{i}.flac", dtype="float32")[0], RATE
        )
        for i in (1, 2)
    )
    assert 150 < woman < 280
    assert 75 < man < 150
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert np.isnan(median_pitch_hz(noise, RATE))
    assert np.isnan(median_pitch_hz(np.zeros(RATE, np.float32), RATE))


def a_list(speakers, size):
    return [
        ListedMixture(
            f"{speakers[0]}{n}", 5.0, tuple(Part(Path(s) / f"{n}.flac", 0, 0.0, "F") for s in speakers[n % 3 :][:size])
        )
        for n in range(6)
    ]


def test_a_drawn_subset_keeps_the_order_of_the_list():
    listed = a_list("abcde", 2)
    chosen = drawn(listed, 3)
    assert len(chosen) == 3
    assert [m.id for m in listed if m in chosen] == [m.id for m in chosen]
    assert drawn(listed, 100) == listed


def test_an_octave_has_twelve_semitones():
    class Voices:
        pitch_hz = np.array([110.0, 220.0])

    assert semitones(Voices()) == pytest.approx(12.0)
