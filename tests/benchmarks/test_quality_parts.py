"""Rooms, noise, pitch and the choice of mixtures of docs/quality.md are what the page says of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from unmingle.training.acoustics import at_snr, in_a_room

from benchmarks.quality.conditions import CLEAN, Case, Condition, drawn, speaker, together
from benchmarks.quality.measuring import make_scene
from benchmarks.quality.pitch import median_pitch_hz
from benchmarks.quality.tables import semitones
from tests.benchmarks.conftest import ROOT
from unmingle.training.evaluation.mixture_list import ListedMixture, Part, read_list

RATE = 16_000
EXAMPLES = {mixture.id: mixture for mixture in read_list(ROOT / "examples" / "list.csv")}


def speech():
    return soundfile.read(ROOT / "examples" / "two_speakers" / "source_1.flac", dtype="float32")[0]


@pytest.mark.parametrize("rt60_s", [0.3, 0.6])
def test_a_room_decays_by_60_db_in_its_time(rt60_s):
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1.0
    response = in_a_room(impulse, RATE, rt60_s, np.random.default_rng(0))
    assert response[0] == pytest.approx(1.0, abs=1e-4)
    energy = np.square(response[round(0.005 * RATE) :], dtype=np.float64)
    # Schroeder's backward integration: the slope from -5 to -25 dB, as rooms are measured.
    left_db = 10.0 * np.log10(np.cumsum(energy[::-1])[::-1] / energy.sum())
    first, last = (left_db < -5.0).argmax(), (left_db < -25.0).argmax()
    assert 3.0 * (last - first) / RATE == pytest.approx(rt60_s, rel=0.1)


def test_at_the_critical_distance_echo_is_as_loud_as_the_voice():
    """0.3 s in 100 cubic metres: 1.04 m, and the microphone is a metre away."""
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1.0
    response = in_a_room(impulse, RATE, 0.3, np.random.default_rng(0))
    echo = np.square(response[1:], dtype=np.float64).sum()
    assert 10.0 * np.log10(1.0 / echo) == pytest.approx(20.0 * np.log10(1.04), abs=0.2)


def test_noise_is_as_far_below_the_speech_as_asked():
    voice = speech()
    noise = at_snr(np.random.default_rng(0).standard_normal(1000).astype(np.float32), voice, 10.0)
    assert len(noise) == len(voice)
    assert 10.0 * np.log10(np.square(voice).sum() / np.square(noise).sum()) == pytest.approx(10.0, abs=0.01)


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


def a_case(condition, mixture="two_speakers", noise_file=None):
    return Case("conditions", condition, EXAMPLES[mixture], noise_file, seed=3)


def test_a_clean_scene_is_the_mixture_of_the_list():
    scene = make_scene(a_case(CLEAN))
    mixture = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")[0]
    np.testing.assert_allclose(scene.mixture, mixture, atol=1e-4)


def test_levels_are_as_far_apart_as_asked():
    power = np.square(make_scene(a_case(Condition("", level_db=10.0))).sources).mean(1)
    assert 10.0 * np.log10(power[0] / power[1]) == pytest.approx(10.0, abs=0.01)


def test_a_scene_with_room_and_recorded_noise_is_the_same_each_time():
    noise_file = ROOT / "examples" / "three_speakers" / "source_3.flac"
    case = a_case(Condition("", rt60_s=0.3, noise="sounds", snr_db=5.0), noise_file=noise_file)
    first, again = make_scene(case), make_scene(case)
    np.testing.assert_array_equal(first.mixture, again.mixture)
    assert first.noise.any()
    assert not np.allclose(first.sources, make_scene(a_case(CLEAN)).sources)
    other_seed = make_scene(dataclasses.replace(case, seed=4))
    assert not np.array_equal(first.sources, other_seed.sources)


def a_list(speakers, size):
    return [
        ListedMixture(
            f"{speakers[0]}{n}", 5.0, tuple(Part(Path(s) / f"{n}.flac", 0, 0.0, "F") for s in speakers[n % 3 :][:size])
        )
        for n in range(6)
    ]


def test_mixtures_of_more_speakers_have_no_speaker_twice_and_are_drawn_once():
    some, others = a_list("abcde", 2), a_list("cdefghi", 3)
    found = together(some, others, 4)
    assert found == together(some, others, 4)
    assert len(found) >= 2
    for mixture in found:
        assert len(mixture.parts) == 5
        assert len({speaker(part) for part in mixture.parts}) == 5
    assert len({mixture.id.split("+")[0] for mixture in found}) == len(found)


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
