"""Recordings of one person -> utterances to build conversations of, with the times at which somebody speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Stretch = tuple[int, int]
"""First sample, and the one after the last."""

BLOCK_S = 0.01
BELOW_LOUD_DB = (-35.0, -20.0)
"""What is softer than the loud blocks by this is a pause; the first is for silent rooms, the second for noisy ones."""
ABOVE_FLOOR_DB = 10.0
"""The softest blocks of a recording and all within this above them are pauses, within the limits of BELOW_LOUD_DB."""
PAUSE_S = 0.3
"""A shorter pause belongs to the turn, as in NIST's Rich Transcription evaluations."""
SHORTEST_S = 0.1
RAMP_S = 0.01


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What a person says in one go.

    Attributes:
        samples: (samples,) faded in and out.
        stretches: when the person is heard in it, in samples; pauses in between are longer than PAUSE_S.
    """

    samples: Samples
    stretches: tuple[Stretch, ...]


class Voice:
    """A person who goes through his or her recordings, again from the start when all has been said.

    Attributes:
        name: of the person.
    """

    def __init__(self, name: str, recordings: Sequence[Samples], sample_rate: int, rng: np.random.Generator) -> None:
        """Take recordings of (samples,) with little noise, and begin at a random place in them."""
        self.name = name
        self._sample_rate = sample_rate
        self._said = [
            (recording / _level(recording, stretches), stretch)
            for recording in recordings
            if (stretches := speech_stretches(recording, sample_rate))
            for stretch in stretches
        ]
        self._next = int(rng.integers(max(1, len(self._said))))

    @property
    def has_speech(self) -> bool:
        """Whether there is anything to say."""
        return bool(self._said)

    def say(self, seconds: float) -> Utterance:
        """The next utterance, `seconds` long or, where recordings have short stretches of speech, somewhat shorter.

        Its speech has an RMS of 1. Stretches follow each other with the pauses that their recording has between them.
        """
        recording, (begin, end) = self._said[self._next]
        stretches = [(begin, end)]
        last = begin + round(seconds * self._sample_rate)
        self._next = (self._next + 1) % len(self._said)
        while end < last and self._next:
            following, stretch = self._said[self._next]
            if following is not recording or stretch[0] + SHORTEST_S * self._sample_rate > last:
                break
            stretches.append(stretch)
            end = stretch[1]
            self._next = (self._next + 1) % len(self._said)
        end = min(end, last)
        inside = tuple((a - begin, min(b, end) - begin) for a, b in stretches)
        return Utterance(_faded(recording[begin:end], round(RAMP_S * self._sample_rate)), inside)


def speech_stretches(recording: Samples, sample_rate: int) -> tuple[Stretch, ...]:
    """When somebody speaks in a (samples,) recording with little noise, by energy."""
    block = round(BLOCK_S * sample_rate)
    blocks = len(recording) // block
    energy = np.square(recording[: blocks * block], dtype=np.float64).reshape(blocks, block).sum(1)
    if not energy.any():
        return ()
    floor, loud = (10.0 * np.log10(np.percentile(energy[energy > 0], share)) for share in (5, 95))
    heard = energy > 10.0 ** (0.1 * np.clip(floor + ABOVE_FLOOR_DB, loud + BELOW_LOUD_DB[0], loud + BELOW_LOUD_DB[1]))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], heard, [False])).astype(np.int8))) * block
    found: list[Stretch] = []
    for begin, end in edges.reshape(-1, 2).tolist():
        if found and begin - found[-1][1] < PAUSE_S * sample_rate:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return tuple((begin, end) for begin, end in found if end - begin >= SHORTEST_S * sample_rate)


def _level(recording: Samples, stretches: Sequence[Stretch]) -> np.float32:
    """RMS of the speech in a recording."""
    speech = np.concatenate([recording[begin:end] for begin, end in stretches])
    return np.float32(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))


def _faded(samples: Samples, ramp: int) -> Samples:
    faded = samples.astype(np.float32)
    slope = np.linspace(0.0, 1.0, min(ramp, len(samples) // 2), dtype=np.float32)
    faded[: len(slope)] *= slope
    faded[len(faded) - len(slope) :] *= slope[::-1]
    return faded
