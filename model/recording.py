"""What is separated: something that gives its samples block by block, as often as asked. Axes: (channel, sample)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import AudioError

Samples = NDArray[np.float32]

BLOCK_S = 10.0
"""Seconds in one block, about: long enough to be efficient, short enough to be nothing in memory."""


class Recording(Protocol):
    """A recording of any length that can be read from the start more than once."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    @property
    def channels(self) -> int:
        """How many channels every block has."""
        ...

    @property
    def samples(self) -> int:
        """Samples per channel as announced, for progress only; the blocks decide."""
        ...

    def blocks(self) -> Iterator[Samples]:
        """Read from the start: (channels, any number of samples) float32, finite."""
        ...


class ArrayRecording:
    """A recording that is in memory already."""

    def __init__(self, signal: NDArray[np.floating], sample_rate: int) -> None:
        """Take (samples,) or (channels, samples).

        Raises:
            AudioError: not floating point, no audio shape, no samples, or samples that are not finite.
        """
        if signal.ndim not in (1, 2) or not np.issubdtype(signal.dtype, np.floating):
            raise AudioError(
                f"The recording has shape {signal.shape} and type {signal.dtype}; expected floating-point samples of "
                "shape (samples,) or (channels, samples)."
            )
        if signal.size == 0:
            raise AudioError("The recording has no samples; expected at least one.")
        if not np.isfinite(signal).all():
            raise AudioError("The recording has samples that are not finite (NaN or infinity); expected numbers only.")
        self._signal = np.atleast_2d(signal).astype(np.float32, copy=False)
        self.sample_rate = sample_rate
        self.channels, self.samples = self._signal.shape

    def blocks(self) -> Iterator[Samples]:
        """Views of the array, BLOCK_S seconds each."""
        step = max(1, round(BLOCK_S * self.sample_rate))
        for start in range(0, self.samples, step):
            yield self._signal[:, start : start + step]
