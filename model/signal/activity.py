"""Who is heard when: energy of stems over time -> active stretches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Samples
from unmingle.model.signal.turn_taking import Window, agreed, grouped

_TURN_BLOCKS = 4
"""Somebody else may take the turn after so many blocks."""
_UNSPOKEN = 0.05
"""How much a moment in which nobody speaks counts when it is decided whose turn it is."""

SpeechAt = Callable[[NDArray[np.float64]], NDArray[np.float64] | None]
WindowsAt = Callable[[NDArray[np.float64]], tuple[Window, ...]]


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A time in which a source is heard, from `start_s` to `end_s` in seconds."""

    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class ActivityRule:
    """When a stem counts as heard; the defaults were chosen on conversations of validation speakers.

    Something is heard where all stems together are loud enough, beside their own loud moments and the background. It is
    whatever is loud enough beside its own loud moments and, over a second, nearly as loud as the strongest stem:
    what is fainter is mostly the leak of something else.

    Where a model tells speech, that decides when voices are heard, and not how loud it is. People who talk take turns.
    One of them has the turn at a time: whoever's stem is the strongest for most of it. Where several speak, one other
    is heard as well. A stem that is loud while nobody speaks is no voice.
    """

    block_s: float = 0.032
    """Resolution in seconds."""
    below_loud_db: float = -35.0
    """Relative to the stem's own loud blocks (95th percentile of those with energy)."""
    below_voices_db: float = -25.0
    """Of all stems together, relative to their loud moments."""
    below_background_db: float = -6.0
    """Of all stems together, relative to the background at the same moment."""
    presence_s: float = 0.29
    """Over which all stems together are averaged for that."""
    below_strongest_db: float = -6.0
    """Of a stem, relative to the strongest stem."""
    turn_s: float = 1.0
    """Over which stems are averaged for that."""
    speech_log_odds: float = -0.5
    """Of somebody speaking."""
    overlap_log_odds: float = -1.0
    """Of several people speaking, where somebody does."""
    overlapping_share: float = 0.5
    """Of the time in which somebody speaks: where several likely do for more of it, nobody takes turns."""
    change_cost: float = 6.0
    """By how much the summed logarithms of the shares must grow before somebody else is given the turn."""
    least_share: float = 0.1
    """Added to a stem's share before its logarithm is taken, so that a silent moment does not end a turn."""
    audible_db: float = -50.0
    """Relative to the stem's own loud blocks. Below it, nobody is heard, whoever has the turn."""
    voice_share: float = 0.5
    """Of the energy of a stem, while somebody speaks: with less, it is no voice."""
    bridged_s: float = 0.25
    """Shorter pauses do not end a stretch."""
    shortest_s: float = 0.1
    """Shorter stretches are dropped."""


class EnergyTrack:
    """Energy of stems, and of the background beside them, in blocks of time, gathered as they are made."""

    def __init__(self, sample_rate: int, sources: int, rule: ActivityRule | None = None) -> None:
        """Args: sources: the first of the stems; one more, if there is one, is the background."""
        self._rule = rule or ActivityRule()
        self._sources = sources
        self._block = block_samples(sample_rate, self._rule)
        self._sample_rate = sample_rate
        self._energies: list[NDArray[np.float64]] = []
        self._waiting: Samples | None = None
        self._samples = 0

    def push(self, stems: Samples) -> None:
        """Take in the next (sources, channels, samples), or (sources + 1, channels, samples) with the background."""
        self._samples += stems.shape[-1]
        if self._waiting is not None:
            stems = np.concatenate((self._waiting, stems), axis=-1)
        whole = stems.shape[-1] // self._block * self._block
        self._energies.append(_energy(stems[..., :whole].reshape(*stems.shape[:2], -1, self._block)))
        self._waiting = stems[..., whole:].copy()

    def extend(self, later: EnergyTrack) -> None:
        """Take in what follows, which began where a block does.

        Raises:
            ValueError: it did not.
        """
        if self._waiting is not None and self._waiting.size:
            raise ValueError(f"{self._waiting.shape[-1]} samples are left over; expected whole blocks")
        self._energies += later._energies
        self._waiting, self._samples = later._waiting, self._samples + later._samples

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that was gathered, of at least one push, to be written down."""
        assert self._waiting is not None
        energies = np.concatenate(self._energies, axis=-1)
        return {"energies": energies, "waiting": self._waiting, "samples": np.array(self._samples)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was written down, in place of what was gathered."""
        self._energies, self._waiting = [arrays["energies"]], arrays["waiting"]
        self._samples = int(arrays["samples"])

    def totals(self) -> NDArray[np.float64]:
        """(sources,): the energy of each stem so far."""
        if self._waiting is None:
            return np.zeros(self._sources)
        return np.asarray(self._blocks()[: self._sources].sum(-1))

    def stretches(
        self, speech_at: SpeechAt = lambda _: None, windows_at: WindowsAt = lambda _: ()
    ) -> tuple[tuple[Stretch, ...], ...]:
        """For each stem, the stretches in which it is heard.

        Args:
            speech_at: seconds -> log odds of speech, and of several people speaking, there; None where nobody can tell.
            windows_at: seconds -> who speaks there, in windows within which people are told apart.
        """
        if self._waiting is None:
            return ()
        energy = self._blocks()
        stems, behind = energy[: self._sources], energy[self._sources :].sum(0)
        middles = (np.arange(stems.shape[1]) + 0.5) * self._block / self._sample_rate
        speech = speech_at(middles)
        # A network for conversations misses much of what is said where everybody talks at once.
        windows = () if speech is not None and at_once(speech, self._rule) else windows_at(middles)
        speech = agreed(speech, windows, len(middles))
        active = active_blocks(stems, behind, self._rule)
        if speech is not None:
            voices = are_voices(stems, speech, self._rule)
            active[voices] = active_voices(stems[voices], speech, self._rule, windows)
        return tuple(self._stretches(blocks) for blocks in active)

    def _blocks(self) -> NDArray[np.float64]:
        """(sources, blocks), the last of them cut short by the end."""
        assert self._waiting is not None
        return np.concatenate((*self._energies, _energy(self._waiting[:, :, None])), axis=-1)

    def _stretches(self, active: NDArray[np.bool_]) -> tuple[Stretch, ...]:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
        seconds = (edges * self._block).clip(max=self._samples) / self._sample_rate
        found: list[Stretch] = []
        for start, end in seconds.reshape(-1, 2).tolist():
            if found and start - found[-1].end_s < self._rule.bridged_s:
                found[-1] = Stretch(found[-1].start_s, end)
            else:
                found.append(Stretch(start, end))
        return tuple(s for s in found if s.end_s - s.start_s >= self._rule.shortest_s)


def block_samples(sample_rate: int, rule: ActivityRule | None = None) -> int:
    """Samples of a block of time."""
    return max(1, round((rule or ActivityRule()).block_s * sample_rate))


def _energy(stems: Samples) -> NDArray[np.float64]:
    """(sources, channels, blocks, samples) -> (sources, blocks)."""
    return np.asarray(np.square(stems, dtype=np.float64).sum((1, 3)))


def active_blocks(stems: NDArray[np.float64], background: NDArray[np.float64], rule: ActivityRule) -> NDArray[np.bool_]:
    """Whether each stem is heard in each block: (sources, blocks) and (blocks,) energies -> (sources, blocks)."""
    everybody = _smoothed(stems.sum(0), rule.presence_s / rule.block_s)
    behind = _smoothed(background, rule.presence_s / rule.block_s)
    present = (everybody >= _loud(everybody) * _ratio(rule.below_voices_db)) & (
        everybody >= behind * _ratio(rule.below_background_db)
    )
    own = beside_itself(stems, rule.below_loud_db)
    amplitude = _smoothed(np.sqrt(stems), rule.turn_s / rule.block_s)
    strong = amplitude >= amplitude.max(0) * np.sqrt(_ratio(rule.below_strongest_db))
    return np.asarray(present & own & strong & (stems > 0))


def are_voices(stems: NDArray[np.float64], speech: NDArray[np.float64], rule: ActivityRule) -> NDArray[np.bool_]:
    """Which stems are somebody's: (sources, blocks) energies and (2, blocks) log odds -> (sources,)."""
    spoken = speech[0] > rule.speech_log_odds
    return np.asarray(stems[:, spoken].sum(1) > rule.voice_share * stems.sum(1))


def at_once(speech: NDArray[np.float64], rule: ActivityRule) -> bool:
    """Whether several people speak for so much of the time that nobody takes turns, by (2, blocks) log odds."""
    spoken = speech[0] > rule.speech_log_odds
    return bool((speech[1][spoken] > 0).sum() > rule.overlapping_share * spoken.sum())


def active_voices(
    stems: NDArray[np.float64], speech: NDArray[np.float64], rule: ActivityRule, windows: Sequence[Window] = ()
) -> NDArray[np.bool_]:
    """Who speaks in each block: (voices, blocks) energies and (2, blocks) log odds -> (voices, blocks)."""
    if not len(stems):
        return np.zeros(stems.shape, bool)
    spoken = speech[0] > rule.speech_log_odds
    several = speech[1] > rule.overlap_log_odds
    amplitude = _smoothed(np.sqrt(stems), rule.turn_s / rule.block_s)
    strong = amplitude >= amplitude.max(0) * np.sqrt(_ratio(rule.below_strongest_db))
    strong &= beside_itself(stems, rule.below_loud_db) & (stems > 0)
    if at_once(speech, rule):
        return np.asarray(spoken & strong)
    voice, turn = np.arange(len(stems))[:, None], turns(stems, spoken, rule, windows)
    amplitude[turn, np.arange(stems.shape[1])] = -1.0
    beside = several & strong & (voice == amplitude.argmax(0))
    return np.asarray(spoken & (beside | ((voice == turn) & beside_itself(stems, rule.audible_db) & (stems > 0))))


def turns(
    stems: NDArray[np.float64], spoken: NDArray[np.bool_], rule: ActivityRule, windows: Sequence[Window] = ()
) -> NDArray[np.int64]:
    """Who has the turn in each block: (voices, blocks) energies and (blocks,) flags -> (blocks,) indices of voices.

    The path with the largest sum of log shares of the amplitude, less what each change costs (Viterbi, IEEE TIT 1967).
    Times in which nobody speaks count little.
    """
    voices, blocks = stems.shape
    amplitude = np.sqrt(stems)
    share = amplitude / np.maximum(amplitude.sum(0), np.finfo(np.float64).tiny)
    gain = grouped(np.log(share + rule.least_share), windows) * np.where(spoken, 1.0, _UNSPOKEN)
    # Steps of several blocks: a loop over all blocks of an hour would take seconds.
    steps = -(-blocks // _TURN_BLOCKS)
    gain = np.pad(gain, ((0, 0), (0, steps * _TURN_BLOCKS - blocks))).reshape(voices, steps, _TURN_BLOCKS).sum(2)
    best, before = gain[:, 0], np.empty((steps, voices), np.int64)
    stay = np.arange(voices)
    for step in range(1, steps):
        leader = int(best.argmax())
        before[step] = np.where(best >= best[leader] - rule.change_cost, stay, leader)
        best = np.maximum(best, best[leader] - rule.change_cost) + gain[:, step]
    path = np.empty(steps, np.int64)
    path[-1] = best.argmax()
    for step in range(steps - 1, 0, -1):
        path[step - 1] = before[step, path[step]]
    return path.repeat(_TURN_BLOCKS)[:blocks]


def beside_itself(stems: NDArray[np.float64], decibels: float) -> NDArray[np.bool_]:
    """Where each stem is no further than so far below its own loud moments."""
    return np.asarray(stems >= np.array([_loud(row) for row in stems])[:, None] * _ratio(decibels))


def _ratio(decibels: float) -> float:
    return float(10.0 ** (decibels / 10.0))


def _loud(energy: NDArray[np.float64]) -> float:
    """95th percentile of the blocks that have energy; infinite where none has."""
    return float(np.percentile(energy[energy > 0], 95)) if (energy > 0).any() else np.inf


def _smoothed(energy: NDArray[np.float64], blocks: float) -> NDArray[np.float64]:
    """Mean over about so many blocks around each: (..., blocks) -> the same; fewer at the ends."""
    half = int(blocks / 2)
    sums = np.cumsum(np.concatenate((np.zeros((*energy.shape[:-1], 1)), energy), axis=-1), axis=-1)
    at = np.arange(energy.shape[-1])
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, energy.shape[-1])
    # Differences of sums may fall below zero by rounding.
    return np.asarray(np.maximum(sums[..., last] - sums[..., first], 0.0) / (last - first))
