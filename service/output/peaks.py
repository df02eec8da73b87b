"""The outline of a waveform: of every part of it, the smallest and the largest sample. Axes: (sample, channel)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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


def peaks(signals: Sequence[NDArray[np.float32]], start: int, end: int, parts: int) -> Peaks:
    """Of the sum of signals, from sample `start` to before `end`; memory does not grow with their length."""
    samples, channels = signals[0].shape
    start = min(max(0, start), max(0, samples - 1))
    end = min(max(start + 1, end), samples)
    parts = max(1, min(parts, end - start))
    edges = np.linspace(start, end, parts + 1).astype(np.int64)
    low, high = np.zeros(parts, np.float32), np.zeros(parts, np.float32)
    step = max(1, _AT_ONCE * parts // max(1, (end - start) * channels))
    for first in range(0, parts, step):
        last = min(parts, first + step)
        own = np.sum([signal[edges[first] : edges[last]] for signal in signals], axis=0, dtype=np.float32)
        at = edges[first:last] - edges[first]
        low[first:last] = np.minimum.reduceat(own.min(1), at)
        high[first:last] = np.maximum.reduceat(own.max(1), at)
    return Peaks(low, high)
