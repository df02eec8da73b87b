"""The outline of a waveform: of every part of it, the smallest and the largest sample. Axes: (sample, channel)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 2**20


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Attributes:
    low, high: (parts,) of all channels.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]


def peaks(samples: NDArray[np.float32], start: int, end: int, parts: int) -> Peaks:
    """Of the samples from `start` to before `end`; memory does not grow with their number."""
    start = min(max(0, start), max(0, len(samples) - 1))
    end = min(max(start + 1, end), len(samples))
    parts = max(1, min(parts, end - start))
    edges = np.linspace(start, end, parts + 1).astype(np.int64)
    low, high = np.zeros(parts, np.float32), np.zeros(parts, np.float32)
    step = max(1, _AT_ONCE * parts // max(1, (end - start) * samples.shape[1]))
    for first in range(0, parts, step):
        last = min(parts, first + step)
        own = np.asarray(samples[edges[first] : edges[last]])
        at = edges[first:last] - edges[first]
        low[first:last] = np.minimum.reduceat(own.min(1), at)
        high[first:last] = np.maximum.reduceat(own.max(1), at)
    return Peaks(low, high)
