"""Voices -> a conversation: who speaks next, for how long, and how soon after or during what others say.

Axes: (source, sample).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.rttm import Turn
from unmingle.training.evaluation.voices import Samples, Utterance, Voice

TYPICAL_TURN_S = 3.0
"""Median of turns that are not interjections; they are log-normal."""
INTERJECTION_CHANCE = 0.25
INTERJECTION_S = (0.3, 1.0)
PAUSE_S = 0.6
"""Mean of the pauses between turns; they are exponential."""
RECOVERY_S = 0.3
"""The same person does not go on sooner than this."""


def take_turns(
    voices: Sequence[Voice], seconds: float, overlap: float, sample_rate: int, rng: np.random.Generator
) -> tuple[Samples, tuple[Turn, ...]]:
    """Let people talk for so many seconds; each of them says something, some say more than others.

    Args:
        overlap: of the time in which somebody speaks, the part in which several do; met within a few per cent.

    Returns:
        (source, samples) float32 with speech of RMS 1, and the turns in order of time.

    Raises:
        EvaluationError: somebody has nothing to say.
    """
    mute = [voice.name for voice in voices if not voice.has_speech]
    if mute:
        raise EvaluationError(
            f"There is no speech in the recordings of {', '.join(mute)}: take them out of the corpus."
        )
    floor = _Floor(len(voices), round(seconds * sample_rate), sample_rate)
    talkative = rng.dirichlet(np.full(len(voices), 2.0))
    # Everybody once; in short conversations of many, nobody may talk for long.
    order = rng.permutation(len(voices)).tolist()
    typical_s = min(TYPICAL_TURN_S, 0.7 * seconds / len(voices))
    while not floor.over:
        speaker = order.pop(0) if order else _next_speaker(floor.last_speaker, talkative, rng)
        short = not order and rng.random() < INTERJECTION_CHANCE
        wanted_s = rng.uniform(*INTERJECTION_S) if short else typical_s * np.exp(rng.normal(0.0, 0.6))
        utterance = voices[speaker].say(min(wanted_s, 0.9 * seconds / len(voices)))
        floor.place(speaker, utterance, floor.overlap < overlap, rng)
    names = [voice.name for voice in voices]
    turns = [
        Turn(names[speaker], begin / sample_rate, end / sample_rate)
        for speaker, begin, end in sorted(floor.stretches, key=lambda stretch: stretch[1])
    ]
    return floor.sources, tuple(turns)


def _next_speaker(last: int, talkative: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Anybody but the one who spoke last."""
    chances = talkative.copy()
    chances[last] = 0.0
    return int(rng.choice(len(chances), p=chances / chances.sum()))


@dataclasses.dataclass
class _Placed:
    """The last utterance: its speaker, its first sample and the one after its last."""

    speaker: int = -1
    begin: int = 0
    end: int = 0


class _Floor:
    """A conversation so far."""

    def __init__(self, people: int, samples: int, sample_rate: int) -> None:
        self.sources: Samples = np.zeros((people, samples), np.float32)
        self.stretches: list[tuple[int, int, int]] = []
        self._talking: NDArray[np.int8] = np.zeros(samples, np.int8)
        self._ends = [0] * people
        self._end = 0
        self._last = _Placed()
        self._recovery = round(RECOVERY_S * sample_rate)
        self._sample_rate = sample_rate

    @property
    def last_speaker(self) -> int:
        """Who spoke last; -1 at first."""
        return self._last.speaker

    @property
    def over(self) -> bool:
        """Whether nothing more can be said."""
        return self._end + self._recovery >= self.sources.shape[1]

    @property
    def overlap(self) -> float:
        """Of the time in which somebody spoke so far, the part in which several did."""
        spoken = int((self._talking > 0).sum())
        return int((self._talking > 1).sum()) / spoken if spoken else 0.0

    def place(self, speaker: int, utterance: Utterance, interrupting: bool, rng: np.random.Generator) -> None:
        """Add an utterance after a pause, or into what is being said; what is past the end is cut off."""
        length = len(utterance.samples)
        begin = self._end + round(rng.exponential(PAUSE_S) * self._sample_rate)
        if interrupting and self._end > self._last.begin:
            shared = round(rng.uniform(0.3, 1.0) * min(length, self._end - self._last.begin))
            latest = self._end - shared
            begin = round(rng.uniform(self._last.begin, latest)) if length == shared else latest
        begin = max(begin, self._ends[speaker] + self._recovery if self._ends[speaker] else 0)
        heard = utterance.samples[: max(0, self.sources.shape[1] - begin)]
        self.sources[speaker, begin : begin + len(heard)] += heard
        for first, end in utterance.stretches:
            last = min(end, len(heard))
            if last > first:
                self.stretches.append((speaker, begin + first, begin + last))
                self._talking[begin + first : begin + last] += 1
        self._last = _Placed(speaker, begin, begin + length)
        self._ends[speaker] = begin + length
        self._end = max(self._end, begin + length)
