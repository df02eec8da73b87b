"""A recording separated in parts gives the bytes of one that is separated in one go."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soxr

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.inspection import Inspected
from unmingle.model.options import SeparationOptions
from unmingle.model.parts import cut_into_parts
from unmingle.model.recording import ArrayRecording, OneChannel
from unmingle.model.results import Outcome
from unmingle.model.separator import Separator
from unmingle.model.signal import segments
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.spreading import Spreading, can_be_spread, heard_blocks

RATE = 16_000
SHORT = SegmentLayout(frames=240, overlap=24)
"""Two seconds, so that there are many of them in little audio."""


@pytest.fixture(scope="module")
def separator(bundled_model: Path) -> Separator:
    return Separator(OnnxEmbedder(bundled_model, "cpu", threads=1), SHORT)


def voices(seconds: float, example, name: str = "two_speakers") -> np.ndarray:
    """(samples,) of real speech, over and over, ever louder and softer."""
    length = round(seconds * RATE)
    level = np.float32(1.5) + np.sin(np.arange(length) / (3.7 * RATE), dtype=np.float32)
    return np.resize(example(name).mixture, length) * level


def spread(
    separator: Separator, signal: np.ndarray, rate: int, options: SeparationOptions, most: int, place: Path
) -> tuple[np.ndarray, Outcome]:
    """All stems, in the order of the sink, and what is known of them; every part begins with what is on disk."""
    recording = ArrayRecording(signal, rate)
    inspected = Inspected(recording)
    for _ in inspected.blocks():
        pass
    surveyed = separator.survey(recording, options)
    assert can_be_spread(recording, surveyed, options)
    blocks = heard_blocks(separator, recording, surveyed)
    config = separator.embedder.config
    heard = recording if blocks is None else ArrayRecording(np.concatenate(list(blocks), axis=1), config.sample_rate)
    parts = cut_into_parts(recording.samples, rate, heard.samples, config, separator.layout, most)
    assert 1 <= len(parts) <= most
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    place.mkdir(parents=True)
    spreading = Spreading(separator, recording, heard, surveyed, parts, options, place, overview=True)
    told: list[float] = []
    for part in reversed(parts):
        spreading.listen(part, told.append)
    plan = spreading.plan(told.append)
    stems: dict[int, np.ndarray] = {}
    for part in reversed(parts):
        pieces: list[np.ndarray] = []
        spreading.separate(part, plan, pieces.append, told.append)
        stems[part.number] = np.concatenate(pieces, axis=-1)
        assert stems[part.number].shape[-1] == part.end - part.start
    assert 0.0 <= min(told) <= max(told) == 1.0
    outcome = spreading.outcome(plan, inspected.inspection.warnings(), {"read": 1.0})
    return np.concatenate([stems[number] for number in range(len(parts))], axis=-1), outcome


def whole(
    separator: Separator, signal: np.ndarray, rate: int, options: SeparationOptions
) -> tuple[np.ndarray, Outcome]:
    pieces: list[np.ndarray] = []
    outcome = separator.separate_recording(ArrayRecording(signal, rate), pieces.append, options, overview=True)
    return np.concatenate(pieces, axis=-1), outcome


def check_same(
    separator: Separator, signal: np.ndarray, rate: int, options: SeparationOptions, place: Path, mosts=(5,)
) -> Outcome:
    expected, known = whole(separator, signal, rate, options)
    for most in mosts:
        found, outcome = spread(separator, signal, rate, options, most, place / str(most))
        assert found.tobytes() == expected.tobytes(), f"{np.abs(found - expected).max()} in {most} parts"
        check_same_facts(outcome, known)
    return known


def check_same_facts(found: Outcome, expected: Outcome) -> None:
    overview, other = found.overview, expected.overview
    assert overview and other
    for field in dataclasses.fields(overview):
        ours, theirs = getattr(overview, field.name), getattr(other, field.name)
        for name in ("places", "embeddings", "weights") if field.name == "points" else ():
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        if field.name != "points":
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
    assert found.stage_seconds["read"] >= 1.0
    plain = {"overview": None, "stage_seconds": {}}
    assert dataclasses.replace(found, **plain) == dataclasses.replace(expected, **plain)


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        (12.9, SeparationOptions()),
        (11.7131, SeparationOptions(num_sources=2, background="share", seed=3)),
        (10.0, SeparationOptions(num_sources=3, background="drop")),
        (12.1, SeparationOptions(num_sources=1, mask_kind="hard")),
    ],
)
def test_the_bytes_are_those_of_a_separation_in_one_go(
    separator: Separator, example, tmp_path: Path, seconds: float, options: SeparationOptions
) -> None:
    mosts = (1, 2, 5) if options == SeparationOptions() else (4,)
    outcome = check_same(separator, voices(seconds, example), RATE, options, tmp_path, mosts)
    assert all(report.active for report in outcome.stems)


def test_also_at_another_rate(separator: Separator, example, tmp_path: Path) -> None:
    """Of which no grid coincides with that of the network."""
    signal = soxr.resample(voices(8.3, example), RATE, 44_100)
    check_same(separator, signal, 44_100, SeparationOptions(num_sources=2), tmp_path, (3,))


def test_also_where_rumble_is_kept_out_of_the_stems(separator: Separator, example, tmp_path: Path) -> None:
    signal = voices(9.0, example)
    signal += np.float32(0.3) * np.sin(2 * np.pi * 30 * np.arange(signal.size) / RATE).astype(np.float32)
    check_same(separator, signal, RATE, SeparationOptions(num_sources=2), tmp_path, (4,))


def test_also_of_channels_that_do_not_tell_where_a_sound_is(separator: Separator, example, tmp_path: Path) -> None:
    """The same in both, and different ones that are not to tell."""
    signal = voices(6.0, example)
    check_same(separator, np.stack([signal, signal]), RATE, SeparationOptions(num_sources=2), tmp_path / "a", (3,))
    other = np.stack([signal, voices(6.0, example, "same_gender")])
    options = SeparationOptions(num_sources=2, spatial="off", channels="mono")
    check_same(separator, other, RATE, options, tmp_path / "b", (3,))


def test_also_of_silence_and_of_a_voice_after_silence(separator: Separator, example, tmp_path: Path) -> None:
    silence = np.zeros(5 * RATE, np.float32)
    check_same(separator, silence, RATE, SeparationOptions(), tmp_path / "a", (1, 2))
    late = np.concatenate((silence, voices(5.0, example), silence))
    check_same(separator, late, RATE, SeparationOptions(), tmp_path / "b", (6,))


@pytest.mark.parametrize("samples", [1, 700, 2 * RATE + 1])
def test_what_is_too_short_is_one_part(separator: Separator, tmp_path: Path, samples: int) -> None:
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)
    check_same(separator, signal, RATE, SeparationOptions(num_sources=2), tmp_path, (5,))


def test_channels_that_tell_where_a_sound_is_stay_whole(separator: Separator, example) -> None:
    signal = np.stack([voices(3.0, example), voices(3.0, example, "same_gender")])
    recording, options = ArrayRecording(signal, RATE), SeparationOptions()
    assert not can_be_spread(recording, separator.survey(recording, options), options)
    apart = SeparationOptions(channels="separate")
    assert not can_be_spread(recording, separator.survey(recording, apart), apart)
    assert can_be_spread(OneChannel(recording, 0), None, apart)


@pytest.mark.parametrize("layout", [SHORT, SegmentLayout()])
def test_segments_are_known_before_the_recording_is_read(layout: SegmentLayout) -> None:
    step = layout.frames - layout.overlap
    for frames in (0, 1, step, *range(layout.frames - 2, layout.frames + 3 * step, 61), 20 * step + 7):
        cut = segments.cut(iter([np.zeros((frames, 1), np.float32)]), layout)
        assert segments.spans(frames, layout) == [(segment.start, len(segment.magnitude)) for segment in cut]
