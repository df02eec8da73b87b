"""Stream: the samples of a file as a decoder gives them. Axes: (samples, channels)."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import FileError

Samples = NDArray[np.float32]

BLOCK_SAMPLES = 2**18
"""Samples of all channels together that are read at a time, about."""


class Stream(abc.ABC):
    """A file that is being decoded.

    Attributes:
        sample_rate: Hz.
        channels: how many every block has.
        frames: samples per channel so far.
        cut_short: whether the decoder failed in the middle of the file.
        warnings: what a listener should know, complete when the last block was given.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.frames = 0
        self.cut_short = False
        self.warnings: list[str] = []

    @abc.abstractmethod
    def blocks(self) -> Iterator[Samples]:
        """The samples from beginning to end, once. A block is valid until the next one is asked for.

        Raises:
            FileError: the file is damaged.
        """

    def damaged(self, why: str) -> FileError:
        """The error of a file whose decoder fails here."""
        return FileError("audio_unreadable", f"The file is damaged after {self.frames / self.sample_rate:.2f} s: {why}")
