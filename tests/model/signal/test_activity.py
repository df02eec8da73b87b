"""Stretches say when a stem is heard, whatever the pieces it came in."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.signal.activity import ActivityRule, EnergyTrack, Stretch

RATE = 16_000


def bursts(*times, seconds=6.0, level=0.3):
    """(channel, samples) noise that sounds in the given times only."""
    signal = np.zeros((1, int(seconds * RATE)), np.float32)
    rng = np.random.default_rng(0)
    for start, end in times:
        piece = slice(int(start * RATE), int(end * RATE))
        signal[:, piece] = level * rng.standard_normal((1, piece.stop - piece.start))
    return signal


def stretches_of(*stems, pieces=1, rule=None, background=0, speech_at=lambda _: None):
    track = EnergyTrack(RATE, len(stems) - background, rule)
    for piece in np.array_split(np.stack(stems), pieces, axis=-1):
        track.push(piece)
    return track.stretches(speech_at)


def told(spoken, several=()):
    """What a model says that is sure when somebody speaks, and when several people do."""

    def speech_at(seconds):
        within = [[any(a <= t < b for a, b in times) for t in seconds] for times in (spoken, several)]
        return np.where(within, 5.0, -5.0)

    return speech_at


def assert_close(found, expected):
    assert len(found) == len(expected)
    for stretch, (start, end) in zip(found, expected, strict=True):
        assert stretch.start_s == pytest.approx(start, abs=0.04)
        assert stretch.end_s == pytest.approx(end, abs=0.04)


@pytest.mark.parametrize("pieces", [1, 7, 500])
def test_two_that_take_turns(pieces):
    first, second = stretches_of(bursts((0.5, 2.0), (4.0, 6.0)), bursts((1.5, 4.5)), pieces=pieces)
    assert_close(first, [(0.5, 2.0), (4.0, 6.0)])
    assert_close(second, [(1.5, 4.5)])


def test_short_pauses_are_bridged_and_clicks_dropped():
    (found,) = stretches_of(bursts((1.0, 2.0), (2.2, 3.0), (4.5, 4.55)))
    assert_close(found, [(1.0, 3.0)])


def test_the_leak_of_another_source_is_not_heard():
    speaking = bursts((1.0, 3.0))
    leaking = bursts((4.0, 5.0)) + 0.1 * speaking
    assert_close(stretches_of(speaking, leaking)[1], [(4.0, 5.0)])


def test_level_does_not_matter():
    times = (1.0, 2.5), (4.0, 5.0)
    assert stretches_of(bursts(*times)) == stretches_of(1e-4 * bursts(*times))


@pytest.mark.parametrize("pieces", [1, 7, 500])
def test_totals_are_the_energy_of_all_samples(pieces):
    stems = np.random.default_rng(0).standard_normal((2, 3, 5003)).astype(np.float32)
    track = EnergyTrack(RATE, 2)
    assert track.totals().tolist() == [0.0, 0.0]
    for piece in np.array_split(stems, pieces, axis=-1):
        track.push(piece)
    np.testing.assert_allclose(track.totals(), np.square(stems, dtype=np.float64).sum((1, 2)))


def test_silence_has_no_stretches():
    assert stretches_of(np.zeros((2, RATE), np.float32), np.zeros((2, RATE), np.float32)) == ((), ())
    assert EnergyTrack(RATE, 1).stretches() == ()


def test_a_stretch_ends_with_the_recording():
    found = stretches_of(bursts((0.0, 1.01), seconds=1.01), rule=ActivityRule(shortest_s=0.0))
    assert found == ((Stretch(0.0, 1.01),),)


def test_where_only_the_background_is_loud_nobody_is_heard():
    speaking = bursts((1.0, 2.0)) + bursts((4.0, 5.0), level=0.03)
    behind = bursts((3.5, 6.0))
    (alone,) = stretches_of(speaking)
    assert_close(alone, [(1.0, 2.0), (4.0, 5.0)])
    (heard,) = stretches_of(speaking, behind, background=1)
    assert_close(heard, [(1.0, 2.0)])


def test_the_hum_of_an_empty_room_is_nobody():
    """A stem that holds only what is far below the voices is not heard, however steady it is."""
    speaking, humming = bursts((1.0, 3.0)), bursts((0.0, 6.0), level=0.003)
    first, second = stretches_of(speaking, humming)
    assert_close(first, [(1.0, 3.0)])
    assert second == ()


def test_the_leak_of_a_voice_that_speaks_alone_is_not_heard_however_loud():
    speaking = bursts((0.5, 2.5))
    leaking = 0.7 * speaking + bursts((4.0, 5.5))
    assert_close(stretches_of(speaking, leaking)[1], [(0.5, 2.5), (4.0, 5.5)])
    first, second = stretches_of(speaking, leaking, speech_at=told([(0.5, 2.5), (4.0, 5.5)]))
    assert_close(first, [(0.5, 2.5)])
    assert_close(second, [(4.0, 5.5)])


def test_voices_at_once_are_heard_at_once():
    first, second = bursts((1.0, 3.0), (5.0, 6.0)), 0.7 * bursts((2.0, 4.0))
    found = stretches_of(first, second, speech_at=told([(1.0, 4.0), (5.0, 6.0)], [(2.0, 3.0)]))
    assert_close(found[0], [(1.0, 3.0), (5.0, 6.0)])
    (second,) = found[1]
    assert 2.0 <= second.start_s < 2.5  # levels are compared over a second
    assert second.end_s == pytest.approx(4.0, abs=0.04)


def test_where_people_take_turns_no_more_than_two_are_heard_at_once():
    """In a noisy room the stems are often all alike; that does not make a meeting a choir."""
    speaking = bursts((0.0, 6.0))
    others = [level * speaking for level in (0.95, 0.9, 0.85)]
    found = stretches_of(speaking, *others, speech_at=told([(0.0, 6.0)], [(2.0, 4.0)]))
    assert_close(found[0], [(0.0, 6.0)])
    assert_close(found[1], [(2.0, 4.0)])
    assert found[2:] == ((), ())


def test_a_moment_in_which_a_leak_is_louder_does_not_end_a_turn():
    speaking = bursts((1.0, 4.0))
    speaking[:, int(2.4 * RATE) : int(2.6 * RATE)] *= 0.01
    leaking = bursts((2.4, 2.6), level=0.1) + bursts((4.5, 6.0))
    found = stretches_of(speaking, leaking, speech_at=told([(1.0, 6.0)]))
    assert_close(found[0], [(1.0, 4.0)])
    assert_close(found[1], [(4.5, 6.0)])


def test_where_all_talk_at_once_a_moment_that_sounds_like_one_takes_nobody_away():
    first, second = bursts((0.0, 6.0)), 0.7 * bursts((0.0, 6.0))
    found = stretches_of(first, second, speech_at=told([(0.0, 6.0)], [(0.0, 2.5), (3.0, 6.0)]))
    assert_close(found[0], [(0.0, 6.0)])
    assert_close(found[1], [(0.0, 6.0)])


def test_noise_in_the_stem_of_a_voice_is_not_heard():
    noisy = bursts((1.0, 3.0)) + bursts((0.0, 6.0), level=0.1)
    assert_close(stretches_of(noisy)[0], [(0.0, 6.0)])
    assert_close(stretches_of(noisy, speech_at=told([(1.0, 3.0)]))[0], [(1.0, 3.0)])


def test_a_sound_is_heard_though_nobody_speaks():
    voice, dog = bursts((0.0, 2.0)), bursts((3.0, 6.0))
    found = stretches_of(voice, dog, speech_at=told([(0.0, 2.0)]))
    assert_close(found[0], [(0.0, 2.0)])
    assert_close(found[1], [(3.0, 6.0)])
    assert stretches_of(dog, speech_at=told([])) == stretches_of(dog)
