"""Segments cover every frame, and their masks join without a seam and without losing anything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soxr

from unmingle.model.config import ModelConfig
from unmingle.model.recording import ArrayRecording
from unmingle.model.signal import features, high_pass, stft
from unmingle.model.signal.segments import Segment, SegmentLayout, batches, blend, cut, heard_magnitude

LAYOUT = SegmentLayout(frames=50, overlap=10)
CONFIG = ModelConfig()


def numbered(frames):
    """Frames that carry their own number."""
    return np.arange(frames, dtype=np.float32)[:, None]


@pytest.mark.parametrize("frames", [1, 49, 50, 51, 70, 71, 89, 90, 91, 110, 111, 130, 131, 997])
@pytest.mark.parametrize("piece", [1, 7, 64, 2000])
def test_segments_cover_every_frame_in_order(frames, piece):
    run = numbered(frames)
    found = list(cut([run[a : a + piece] for a in range(0, frames, piece)], LAYOUT))
    assert found[0].start == 0
    assert found[-1].start + len(found[-1].magnitude) == frames
    most = LAYOUT.frames + (LAYOUT.frames - LAYOUT.overlap) // 2
    for segment in found:
        longest = most if segment is found[-1] else LAYOUT.frames
        assert min(frames, LAYOUT.frames) <= len(segment.magnitude) <= longest
        np.testing.assert_array_equal(segment.magnitude[:, 0], segment.start + np.arange(len(segment.magnitude)))
    for before, after in itertools.pairwise(found):
        assert before.start < after.start <= before.start + LAYOUT.frames - LAYOUT.overlap


@pytest.mark.parametrize("frames", [50, 70, 90, 110, 997])
def test_little_is_read_twice(frames):
    read = sum(len(segment.magnitude) for segment in cut([numbered(frames)], LAYOUT))
    segments = 1 + (frames - LAYOUT.overlap) // (LAYOUT.frames - LAYOUT.overlap)
    assert read <= frames + segments * LAYOUT.overlap + LAYOUT.frames // 2


def test_no_frames_no_segments():
    assert list(cut([], LAYOUT)) == []
    assert list(cut([numbered(0)], LAYOUT)) == []


def test_batches_are_of_one_length_and_keep_the_order():
    lengths = [5, 5, 5, 5, 3, 5]
    found = list(batches([Segment(i, numbered(n)) for i, n in enumerate(lengths)], 3))
    assert [[s.start for s in batch] for batch in found] == [[0, 1, 2], [3], [4], [5]]


@pytest.mark.parametrize("frames", [20, 50, 51, 90, 131, 400])
def test_blended_masks_sum_to_one_and_keep_what_segments_agree_on(frames):
    rng = np.random.default_rng(frames)
    steady = rng.random((1, frames, 4), dtype=np.float32)
    agreed = np.concatenate((steady, 1 - steady))
    shaky = rng.random((1, frames, 4), dtype=np.float32)
    for masks, same in ((agreed, True), (np.concatenate((shaky, 1 - shaky)), False)):
        pieces = []
        for segment in cut([numbered(frames)], LAYOUT):
            part = masks[:, segment.start : segment.start + len(segment.magnitude)].copy()
            pieces.append((segment.start, part if same or segment.start % 80 else part[::-1].copy()))
        joined = np.concatenate(list(blend(pieces)), axis=1)
        assert joined.shape == masks.shape
        np.testing.assert_allclose(joined.sum(0), 1.0, atol=1e-6)
        if same:
            np.testing.assert_allclose(joined, masks, atol=1e-6)


def test_no_step_where_segments_disagree():
    """One segment gives all to the first source, the next all to the second: the mask fades over the overlap."""
    first, second = (np.zeros((2, 50, 1), np.float32) for _ in range(2))
    first[0], second[1] = 1.0, 1.0
    joined = np.concatenate(list(blend([(0, first), (40, second)])), axis=1)
    assert np.abs(np.diff(joined, axis=1)).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(joined[0, :40], 1.0)
    np.testing.assert_allclose(joined[1, 50:], 1.0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_what_is_heard_block_by_block_is_what_is_heard_at_once(example, rate):
    speech = example("two_speakers").mixture
    signal = np.tile(speech if rate == 16_000 else soxr.resample(speech, 16_000, rate), 5)
    found = np.concatenate(list(heard_magnitude(ArrayRecording(signal, rate), CONFIG)))
    at_once = signal if rate == 16_000 else soxr.resample(signal, rate, 16_000)
    at_once = np.convolve(at_once, high_pass.kernel(16_000), "same")
    power = np.square(np.abs(stft.analyse(at_once, CONFIG.window, CONFIG.hop)))
    expected = features.band_magnitude(power.astype(np.float32), CONFIG)
    assert abs(len(found) - len(expected)) <= 1
    frames = min(len(found), len(expected))
    np.testing.assert_allclose(found[: frames - 8], expected[: frames - 8], atol=2e-3)


def test_a_source_in_one_channel_only_is_heard(example):
    speech = example("two_speakers").sources[0]
    both = np.concatenate(list(heard_magnitude(ArrayRecording(np.stack((speech, speech)), 16_000), CONFIG)))
    left = np.concatenate(list(heard_magnitude(ArrayRecording(np.stack((speech, 0 * speech)), 16_000), CONFIG)))
    np.testing.assert_allclose(left, both / np.sqrt(2), rtol=1e-4, atol=1e-6)
