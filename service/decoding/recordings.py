"""Recordings on disk, given to the separator block by block. Axes: (channels, samples).

Untrusted uploads are decoded by unmingle.service.decoding.decoder, not here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmingle.model.reading.recordings import Downmix, FileRecording

__all__ = ["DecodedRecording", "FileRecording"]

_BLOCK_SAMPLES = 2**19
"""Samples of all channels together that are read at a time."""


class DecodedRecording:
    """A decoded upload: interleaved float32 in a file, known to be finite.

    Attributes:
        sample_rate: Hz.
        channels: how many.
        samples: per channel.
        decode_s: wall time that decoding took.
        warnings: what a listener should know about the file, in words; complete once it was read to its end.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        samples: int,
        *,
        decode_s: float = 0.0,
        warnings: tuple[str, ...] = (),
        mono: bool = False,
    ) -> None:
        """Take a file; `mono` gives the mean of its channels."""
        self._path, self._file_channels = path, channels
        self.sample_rate, self.samples = sample_rate, samples
        self.channels = 1 if mono else channels
        self.decode_s, self.warnings, self._of_file = decode_s, warnings, warnings
        self._there = 0, samples

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def needed_bytes(self) -> tuple[int, int]:
        """From where to where the file is read."""
        first, end = self._there
        return 4 * self._file_channels * first, 4 * self._file_channels * end

    def within(self, first: int, end: int) -> DecodedRecording:
        """The same recording, of which nothing before sample `first` is read, and nothing from `end` on."""
        found = copy.copy(self)
        found._there = first, end
        return found

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read from the start."""
        downmix = Downmix()
        yield from self._read(0, downmix)
        self.warnings = (*self._of_file, *downmix.warnings())

    def blocks_from(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Read from sample `start` on."""
        return self._read(start, Downmix())

    def _read(self, start: int, downmix: Downmix) -> Iterator[NDArray[np.float32]]:
        first, end = self._there
        at_once = max(1, _BLOCK_SAMPLES // self._file_channels)
        with self._path.open("rb") as file:
            file.seek(4 * self._file_channels * start)
            while start < self.samples:
                if not first <= start < end:
                    raise ValueError(f"sample {start} is wanted, and only {first} to {end} are there")
                data = file.read(4 * self._file_channels * min(at_once, end - start))
                if not data:
                    raise ValueError(f"{self._path} has {start} samples of {self.samples}")
                block = np.frombuffer(data, np.float32).reshape(-1, self._file_channels).T
                start += block.shape[1]
                yield block if len(block) == self.channels else downmix.mixed(block)
