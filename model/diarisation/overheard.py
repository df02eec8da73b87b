"""The samples that a recording is listened to by, for as long as somebody needs them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Samples


class Overheard:
    """The latest samples of a recording, all channels together."""

    def __init__(self, first: int = 0) -> None:
        """Args: first: number of the first sample that will come."""
        self._first = first
        self._blocks: list[NDArray[np.float32]] = []

    def push(self, block: Samples) -> None:
        """Take in the next (channels, samples)."""
        self._blocks.append(np.asarray(block.mean(0), np.float32))

    def taken(self, start: int, end: int) -> NDArray[np.float32]:
        """The samples from `start` to `end`, or as many of them as there are; those before are forgotten."""
        whole = np.concatenate((np.zeros(0, np.float32), *self._blocks))[max(0, start - self._first) :]
        self._first = max(self._first, start)
        self._blocks = [whole]
        return whole[: max(0, end - self._first)]
