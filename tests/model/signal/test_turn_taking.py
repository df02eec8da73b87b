"""Windows within which people are told apart, beside the stems and what the model says itself."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.signal.activity import ActivityRule, turns
from unmingle.model.signal.turn_taking import Window, agreed, grouped, speaking

BLOCKS = 300


def window(*who: int, start: int = 0, voices: np.ndarray | None = None) -> Window:
    """For each block the person who speaks, who is alone; -1 is nobody."""
    speaking = np.array([[float(person == p) for person in who] for p in range(3)])
    somebody = speaking.sum(0)
    return Window(start, speaking, speaking, somebody, np.zeros(len(who)), weight(len(who)), voices)


def weight(blocks: int) -> np.ndarray:
    return np.hanning(blocks + 2)[1:-1] + 0.01


def test_a_turn_is_whoevers_it_mostly_is():
    """For a moment, the wrong stem is louder; the same person goes on, so the turn does not change hands."""
    gains = np.log(np.array([[0.7] * BLOCKS, [0.3] * BLOCKS]))
    gains[:, 100:140] = np.log([[0.45], [0.55]])
    one = window(*[0] * BLOCKS)
    assert (grouped(gains, [one]).argmax(0) == 0).all()
    assert (gains.argmax(0) == 1).any()


def test_people_are_told_apart_where_stems_hardly_are():
    """In her second turn, the stems of the first person are nearly alike, and wrong; she is known from her first."""
    who = np.repeat([0, 1, 0, 1], BLOCKS // 4)
    own = np.where(who == 0, 0.8, 0.2)
    own[160:210] = 0.46
    stems = np.square(np.stack((own, 1.0 - own)))
    spoken, rule = np.ones(BLOCKS, bool), ActivityRule(change_cost=2.0)
    alone = turns(stems, spoken, rule)
    told = turns(stems, spoken, rule, [window(*who.tolist())])
    assert (alone == who).mean() < 0.85
    assert (told == who).mean() > 0.97


def test_windows_need_not_agree_on_who_is_whom():
    """The first person of one window is the second one of the next: only the stems say so."""
    gains = np.log(np.where(np.arange(BLOCKS) < 150, [[0.8], [0.2]], [[0.2], [0.8]]))
    first, second = window(*[0] * 150, *[1] * 30), window(*[2] * 30, *[0] * 120, start=150)
    assert (grouped(gains, [first, second]).argmax(0) == gains.argmax(0)).all()


def test_without_windows_nothing_changes():
    gains = np.random.default_rng(0).standard_normal((3, 50))
    assert grouped(gains, []) is gains
    own = np.ones((2, 50))
    assert agreed(own, [], 50) is own
    assert agreed(None, [], 50) is None


def test_speech_is_what_both_say_and_overlap_what_windows_say():
    rule = ActivityRule()
    who = [0] * 100 + [-1] * 100
    at_once = np.r_[np.ones(50), np.zeros(150)]
    told = Window(0, *window(*who).speaking[None].repeat(2, 0), window(*who).somebody, at_once, weight(len(who)))
    alone = agreed(None, [told], 200)
    assert ((alone[0] > rule.speech_log_odds) == (np.arange(200) < 100)).all()
    assert ((alone[1] > rule.overlap_log_odds) == (np.arange(200) < 50)).all()
    against = agreed(np.full((2, 200), -20.0), [told], 200)
    assert (against[0] < rule.speech_log_odds).all()
    np.testing.assert_array_equal(against[1], alone[1])


def test_what_is_not_within_a_window_stays_as_it_is():
    gains = np.random.default_rng(0).standard_normal((2, BLOCKS))
    found = grouped(gains, [window(*[0] * 100)])
    np.testing.assert_array_equal(found[:, 100:], gains[:, 100:])
    assert found[:, :100] != pytest.approx(gains[:, :100])


def test_a_voice_speaks_where_whoever_has_it_does():
    """Two people, of whom the second is the first source; then one, who is the second source."""
    first = window(*[0] * 100, *[1] * 80, voices=np.array([1, 0, -1]))
    second = window(*[-1] * 60, *[2] * 60, start=180, voices=np.array([-1, -1, 1]))
    found = speaking([first, second], 2, 3, 320)
    assert found.shape == (3, 320)
    np.testing.assert_allclose(found[:, 50], [0, 1, 0.5])
    np.testing.assert_allclose(found[:, 150], [1, 0, 0.5])
    np.testing.assert_allclose(found[:, 200], [0, 0, 0.5])
    np.testing.assert_allclose(found[:, 280], [0, 1, 0.5])
    np.testing.assert_allclose(found[:, 310], 0.5)  # where there is no window, nothing is known


def test_where_windows_overlap_the_middle_of_one_counts_more_than_the_border_of_the_other():
    voices = np.array([0, 1, -1])
    found = speaking([window(*[0] * 200, voices=voices), window(*[1] * 200, start=150, voices=voices)], 2, 2, 350)
    assert found[0, 155] > 0.9
    assert found[1, 195] > 0.9
    np.testing.assert_allclose(found.sum(0), 1.0)
