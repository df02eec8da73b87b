"""What there is to choose from in a recording that was listened to, and what is chosen. Axes: (source, dim)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.signal.arrangement import Box

Vectors = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Number:
    """What a recording looks like as so many sources.

    Attributes:
        num_sources: how many.
        chance: that there are so many, 0 to 1; None where the model cannot count.
        clarity: how clear the least clear of them is, 0 to 1.
        centroids: (sources, dim), unit norm.
    """

    num_sources: int
    chance: float | None
    clarity: float
    centroids: Vectors


@dataclasses.dataclass(frozen=True)
class Wish:
    """Which sounds are wanted.

    Attributes:
        num_sources: so many; or
        centroids: (centroids, dim), these.
        groups: which sound each centroid belongs to, 0 first, without gaps; None for a sound each.
        box: the sounds are heard there only, and the rest is background; None for all of the recording.
    """

    num_sources: int | None = None
    centroids: Vectors | None = None
    groups: Sequence[int] | None = None
    box: Box | None = None
