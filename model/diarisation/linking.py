"""Who of one segment is whom in the others: people whose voices are alike are one. Axes: (segment, person)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from unmingle.model.diarisation.people import People

NOBODY = -1

_ALIKE = 0.4
"""Mean cosine of the speaker vectors of two groups. Below it, they are not one. Chosen on validation conversations."""
_LEAST_S = 1.5
"""A group that speaks alone for less is no voice of its own, unless all are such."""
_SURELY_ALONE_S = 0.5
"""Whoever speaks alone for less has no part in finding the voices, unless all are such."""
_MOST_LINKED = 2000
"""So many people of segments find the voices, an hour of talk or more; of more, they are spread over the recording."""
_MORE_THAN_FOUND = {-2: 2, -1: 4, 0: 26, 1: 14, 2: 10, 3: 3, 4: 2}
"""How many more people speak than voices are found, and in how many of 61 validation conversations of 2 to 8 people."""


@dataclasses.dataclass(frozen=True)
class Talk:
    """Who is whom, all along a recording.

    Attributes:
        voices: (segments, people): number of the voice that each person of a segment has; NOBODY where that is not
            known.
        count: how many voices there are; the longest heard is the first.
    """

    voices: NDArray[np.int64]
    count: int


def link(people: People, most: int) -> Talk:
    """Which of at most `most` voices each person has.

    Average linkage (Sokal and Michener, 1958), in which somebody who speaks for longer counts for more. Where there
    would be more voices than there may be, the shortest heard is joined with the one that it is most alike.
    """
    if not people.alone_s:
        return Talk(np.zeros((0, 0), np.int64), 0)
    alone, vectors = people.known()
    voices = np.full(alone.shape, NOBODY)
    known = np.square(vectors).sum(2) > 0
    if not known.any():
        return Talk(voices, 0)
    sure = known & (alone >= _SURELY_ALONE_S)
    if sure.sum() < 2:
        sure = known
    # The time that linking takes grows with the square of their number.
    every = -(-int(sure.sum()) // _MOST_LINKED)
    found, found_s = vectors[sure][::every], alone[sure][::every]
    sums, seconds = _joined(found, np.maximum(found_s, 1e-3), most)
    directions = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-8)
    for segment in range(len(voices)):
        _assign(vectors[segment] @ directions.T, known[segment], voices[segment])
    order = np.argsort(-seconds, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Talk(np.where(voices >= 0, rank[voices], NOBODY), len(order))


def chances_of(found: int, most: int) -> NDArray[np.float64]:
    """(most,) chance that 1, 2... `most` people speak where so many voices are found."""
    cases = np.array([_MORE_THAN_FOUND.get(number - found, 0) for number in range(1, most + 1)], np.float64)
    return np.asarray(cases / cases.sum())


def _joined(
    vectors: NDArray[np.float64], seconds: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(voices, numbers) sums of speaker vectors by seconds, and (voices,) seconds.

    Whom anybody is most alike is followed until two are so of each other, and these are joined. That gives the groups
    that joining the most alike of all first would give, sooner (nearest-neighbour chains; Murtagh, 1983).
    """
    sums, seconds = vectors * seconds[:, None], seconds.copy()
    alive = np.ones(len(sums), bool)
    done: list[int] = []
    chain: list[int] = []
    while alive.any():
        if not chain:
            chain.append(int(alive.argmax()))
        one = chain[-1]
        # The mean cosine between two groups is the product of their mean vectors.
        alike = np.where(alive, (sums @ sums[one]) / (seconds * seconds[one]), -np.inf)
        alike[one] = -np.inf
        other = int(alike.argmax())
        if alike[other] < _ALIKE:
            done.append(chain.pop())
            alive[one] = False
        elif len(chain) > 1 and alike[chain[-2]] >= alike[other]:
            other = chain[-2]
            sums[other] += sums[one]
            seconds[other] += seconds[one]
            alive[one] = False
            del chain[-2:]
        else:
            chain.append(other)
    return _fewer(sums[done], seconds[done], most)


def _fewer(
    sums: NDArray[np.float64], seconds: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same without those who are heard too shortly, and no more than `most`."""
    while len(sums) > 1 and (len(sums) > most or seconds.min() < _LEAST_S):
        shortest = int(seconds.argmin())
        alike = (sums @ sums[shortest]) / (np.linalg.norm(sums, axis=1) * np.linalg.norm(sums[shortest]) + 1e-8)
        alike[shortest] = -np.inf
        into = int(alike.argmax())
        sums[into] += sums[shortest]
        seconds[into] += seconds[shortest]
        sums, seconds = np.delete(sums, shortest, 0), np.delete(seconds, shortest)
    return sums, seconds


def _assign(alike: NDArray[np.float64], known: NDArray[np.bool_], voices: NDArray[np.int64]) -> None:
    """Give each of the people of one segment the voice that they are most alike; no two the same, while there are more.

    (people, voices) cosines and (people,) flags -> `voices`.
    """
    open_to = np.where(known[:, None], alike, -np.inf)
    for _ in range(min(int(known.sum()), alike.shape[1])):
        person, voice = np.unravel_index(open_to.argmax(), open_to.shape)
        voices[person] = voice
        open_to[person] = open_to[:, voice] = -np.inf
    left = known & (voices == NOBODY)
    voices[left] = alike[left].argmax(1)
