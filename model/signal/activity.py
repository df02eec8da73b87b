"""Who is heard when: energy of stems over time -> active stretches."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Samples


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A time in which a source is heard, from `start_s` to `end_s` in seconds."""

    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class ActivityRule:
    """When a stem counts as heard; the defaults were chosen on conversations of validation speakers."""

    block_s: float = 0.032
    """Resolution in seconds."""
    below_loud_db: float = -35.0
    """Relative to the stem's own loud blocks (95th percentile of those with energy)."""
    below_mixture_db: float = -18.0
    """Relative to all stems at the same moment: what is fainter is the leak of another source."""
    bridged_s: float = 0.25
    """Shorter pauses do not end a stretch."""
    shortest_s: float = 0.1
    """Shorter stretches are dropped."""


class EnergyTrack:
    """Energy of stems in blocks of time, gathered as the stems are made."""

    def __init__(self, sample_rate: int, rule: ActivityRule | None = None) -> None:
        self._rule = rule or ActivityRule()
        self._block = max(1, round(self._rule.block_s * sample_rate))
        self._sample_rate = sample_rate
        self._energies: list[NDArray[np.float64]] = []
        self._waiting: Samples | None = None
        self._samples = 0

    def push(self, stems: Samples) -> None:
        """Take in the next (sources, channels, samples)."""
        self._samples += stems.shape[-1]
        if self._waiting is not None:
            stems = np.concatenate((self._waiting, stems), axis=-1)
        whole = stems.shape[-1] // self._block * self._block
        self._energies.append(_energy(stems[..., :whole].reshape(*stems.shape[:2], -1, self._block)))
        self._waiting = stems[..., whole:].copy()

    def totals(self, sources: int) -> NDArray[np.float64]:
        """(sources,): the energy of each stem so far."""
        return self._blocks().sum(-1) if self._waiting is not None else np.zeros(sources)

    def stretches(self) -> tuple[tuple[Stretch, ...], ...]:
        """For each stem, the stretches in which it is heard."""
        if self._waiting is None:
            return ()
        return tuple(self._stretches(active) for active in _active(self._blocks(), self._rule))

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


def _energy(stems: Samples) -> NDArray[np.float64]:
    """(sources, channels, blocks, samples) -> (sources, blocks)."""
    return np.asarray(np.square(stems, dtype=np.float64).sum((1, 3)))


def _active(energy: NDArray[np.float64], rule: ActivityRule) -> NDArray[np.bool_]:
    """(sources, blocks) energies -> (sources, blocks) whether heard."""
    loud = np.array([np.percentile(row[row > 0], 95) if (row > 0).any() else np.inf for row in energy])
    own = energy >= loud[:, None] * 10.0 ** (rule.below_loud_db / 10.0)
    share = energy >= energy.sum(0) * 10.0 ** (rule.below_mixture_db / 10.0)
    return np.asarray(own & share)
