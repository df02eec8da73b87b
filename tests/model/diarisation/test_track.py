"""What local diarisation says along a recording: found again by time, joined, written down."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.diarisation.linking import NOBODY, Talk
from unmingle.model.diarisation.track import LocalTurns

RATE = 16_000
CONFIG = DiarisationConfig("test", RATE, 495, 270, ((), (0,), (1,), (0, 1)))


def chances(*spoken: tuple[float, float, tuple[int, ...]], seconds: float = 10.0) -> np.ndarray:
    """Certain from when to when who speaks; nobody else does."""
    times = (CONFIG.first + CONFIG.step * np.arange(int(seconds * RATE / CONFIG.step) - 3)) / RATE
    found = np.zeros((len(times), 4), np.float32)
    found[:, 0] = 1.0
    for start, end, people in spoken:
        found[(times >= start) & (times < end)] = np.eye(4, dtype=np.float32)[CONFIG.sets.index(people)]
    return found


def blocks(seconds: float) -> np.ndarray:
    return (np.arange(int(seconds / 0.032)) + 0.5) * 0.032


def test_windows_say_who_speaks_at_a_time():
    turns = LocalTurns()
    turns.add(CONFIG, 0, chances((1.0, 4.0, (0,)), (4.0, 5.0, (0, 1)), (5.0, 7.0, (1,))))
    turns.add(CONFIG, 9 * RATE, chances((0.0, 3.0, (1,))))
    times = blocks(19.0)
    first, second = turns.windows(times)
    assert times[first.start] < 0.1
    assert times[second.start] == pytest.approx(9.0, abs=0.05)
    at = times[first.start : first.start + len(first.somebody)]
    for seconds, speaking, alone, several in (
        (0.5, (0, 0), (0, 0), 0),
        (2.0, (1, 0), (1, 0), 0),
        (4.5, (1, 1), (0, 0), 1),
        (6.0, (0, 1), (0, 1), 0),
    ):
        block = int(np.abs(at - seconds).argmin())
        np.testing.assert_allclose(first.speaking[:, block], speaking, atol=0.01)
        np.testing.assert_allclose(first.alone[:, block], alone, atol=0.01)
        assert first.several[block] == pytest.approx(several, abs=0.01)
        assert first.somebody[block] == pytest.approx(max(speaking), abs=0.01)
    assert second.speaking[1, :80].min() > 0.9


def test_together_windows_cover_every_block():
    turns = LocalTurns()
    for number in range(3):
        turns.add(CONFIG, 9 * RATE * number, chances())
    times = blocks(28.0)
    covered = np.zeros(len(times), bool)
    for window in turns.windows(times):
        covered[window.start : window.start + len(window.somebody)] = True
    assert covered.all()


def test_parts_are_joined_and_written_down():
    whole, first, second = LocalTurns(), LocalTurns(), LocalTurns()
    for number, found in enumerate((chances((1.0, 2.0, (0,))), chances((2.0, 3.0, (1,)), seconds=14.0))):
        whole.add(CONFIG, 9 * RATE * number, found)
        (first, second)[number].add(CONFIG, 9 * RATE * number, found)
    again = [LocalTurns.of_arrays(part.arrays()) for part in (first, second)]
    again[0].extend(again[1])
    times = blocks(23.0)
    for one, other in zip(whole.windows(times), again[0].windows(times), strict=True):
        assert one.start == other.start
        np.testing.assert_array_equal(one.speaking, other.speaking)
        np.testing.assert_array_equal(one.several, other.several)


def test_where_a_part_was_not_looked_at_nothing_is_said():
    """Jobs that an older version began go on, and what it did not write down cannot be had any more."""
    older = LocalTurns.of_arrays({})
    later = LocalTurns()
    later.add(CONFIG, 9 * RATE, chances((0.0, 5.0, (0,))))
    older.extend(later)
    assert older.windows(blocks(19.0)) == ()
    assert LocalTurns().windows(blocks(19.0)) == ()


def test_an_hour_takes_less_than_a_megabyte():
    turns = LocalTurns()
    for number in range(400):
        turns.add(CONFIG, 9 * RATE * number, np.repeat(chances(), 2, axis=1)[:, :7])
    assert sum(array.nbytes for array in turns.arrays().values()) < 1_000_000


def test_overlap_is_a_part_of_the_time_with_speech():
    turns = LocalTurns()
    assert turns.overlap == 0.0
    turns.add(CONFIG, 0, chances((1.0, 4.0, (0,)), (4.0, 5.0, (0, 1))))
    assert turns.overlap == pytest.approx(0.25, abs=0.01)
    turns.add(CONFIG, 9 * RATE, chances())
    assert turns.overlap == pytest.approx(0.25, abs=0.01)


def test_windows_say_whose_voices_they_hear_where_that_is_known():
    turns = LocalTurns()
    for number in range(3):
        turns.add(CONFIG, 9 * RATE * number, chances((0.0, 3.0, (1,))))
    talk = Talk(np.array([[0, NOBODY], [1, 0], [NOBODY, 1]]), 2)
    windows = turns.windows(blocks(28.0), talk)
    assert [window.voices.tolist() for window in windows] == talk.voices.tolist()
    # Those of a moment are the same, whatever else is asked about.
    later = turns.windows(blocks(28.0)[-60:], talk)
    assert [window.voices.tolist() for window in later] == [[NOBODY, 1]]
    assert all(window.voices is None for window in turns.windows(blocks(28.0)))
