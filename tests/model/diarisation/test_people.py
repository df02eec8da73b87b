"""Whom local diarisation hears: what is listened to of each, and what is kept."""

from __future__ import annotations

import numpy as np

from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.diarisation.people import People

RATE = 16_000
CONFIG = DiarisationConfig("test", RATE, 495, 270, ((), (0,), (1,), (0, 1)))


class Listener:
    """Knows a voice by the mean of its samples, and remembers what it was given."""

    config = CONFIG

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def chances(self, samples: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def vector(self, samples: np.ndarray) -> np.ndarray:
        self.given.append(samples)
        angle = float(samples.mean())
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def heard(*spoken: tuple[float, float, tuple[int, ...], float]) -> tuple[np.ndarray, np.ndarray]:
    """10 s of samples and the chances of their frames: from when to when who speaks, and the value of the samples."""
    samples = np.zeros(10 * RATE, np.float32)
    times = (CONFIG.first + CONFIG.step * np.arange(588)) / RATE
    chances = np.tile(np.eye(4, dtype=np.float32)[0], (len(times), 1))
    for start, end, people, value in spoken:
        samples[round(start * RATE) : round(end * RATE)] = value
        chances[(times >= start) & (times < end)] = np.eye(4, dtype=np.float32)[CONFIG.sets.index(people)]
    return samples, chances


def added(listener: Listener, *spoken: tuple[float, float, tuple[int, ...], float]) -> People:
    """With embeddings along one axis in the first half of the segment, and along another in the second."""
    samples, chances = heard(*spoken)
    at = np.arange(0, 10 * RATE, 1000, dtype=np.float64)
    points = np.stack((at < 5 * RATE, at >= 5 * RATE), axis=1).astype(np.float32)
    people = People()
    people.add(listener, samples, chances, points, np.ones(len(at), np.float32), at)
    return people


def test_each_voice_is_known_by_what_it_says_alone():
    listener = Listener()
    people = added(listener, (1.0, 3.0, (0,), 0.5), (3.0, 4.0, (0, 1), 9.0), (6.0, 8.0, (1,), -0.5))
    np.testing.assert_allclose(people.alone_s[0], [2.0, 2.0], atol=0.02)
    for given, value in zip(listener.given, (0.5, -0.5), strict=True):
        assert abs(len(given) / RATE - 2.0) < 0.02
        assert (given == value).mean() > 0.99
    np.testing.assert_allclose(people.vectors[0], [[np.cos(0.5), np.sin(0.5)], [np.cos(0.5), -np.sin(0.5)]], atol=0.02)


def test_its_embeddings_are_those_of_the_same_time():
    people = added(Listener(), (1.0, 3.0, (0,), 0.5), (3.0, 4.0, (0, 1), 9.0), (6.0, 8.0, (1,), -0.5))
    first, second = people.embedded[0]
    assert first[0] > 25
    assert first[1] == 0
    assert second[0] == 0
    assert second[1] > 25
    np.testing.assert_allclose(people.centroids(np.array([[1, 0]]), 2), [[0, 1], [1, 0]])


def test_whoever_never_speaks_alone_is_known_by_all_they_say():
    listener = Listener()
    people = added(listener, (1.0, 3.0, (0, 1), 0.5))
    np.testing.assert_allclose(people.alone_s[0], 0.0)
    assert len(listener.given) == 2
    assert np.linalg.norm(people.vectors[0], axis=1).min() > 0.9


def test_a_syllable_is_not_listened_to():
    listener = Listener()
    people = added(listener, (1.0, 1.2, (0,), 0.5), (2.0, 2.5, (1,), 0.5))
    assert len(listener.given) == 1
    assert np.linalg.norm(people.vectors[0], axis=1).round(2).tolist() == [0, 1]


def test_a_long_speech_is_listened_to_for_a_while():
    listener = Listener()
    added(listener, (0.0, 10.0, (0,), 0.5))
    assert len(listener.given[0]) == 3 * RATE


def test_it_can_be_written_down_and_joined():
    first = added(Listener(), (1.0, 3.0, (0,), 0.5))
    first.extend(added(Listener(), (4.0, 4.1, (1,), 0.5)))  # of whom nothing is known
    read = People.of_arrays(first.arrays())
    for name in ("alone_s", "embedded"):
        np.testing.assert_array_equal(getattr(read, name), getattr(first, name))
    assert [np.square(v).sum(1).round(2).tolist() for v in read.vectors] == [[1, 0], [0, 0]]
    assert People.of_arrays(People().arrays()).alone_s == []
