"""The files of sources of which everybody writes a part. Axes: (source, channel, sample)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from unmingle.service.output import wav


def lay_out(directory: Path, sources: int, channels: int, samples: int, sample_rate: int) -> None:
    """Make the files of so many sources in the existing empty `directory`, whole but silent."""
    header = wav.header(channels, samples, sample_rate, "FLOAT")
    for source in range(sources):
        with (directory / f"source_{source}").open("wb") as file:
            file.write(header)
            file.truncate(len(header) + 4 * channels * samples)


def place_of(sample: int, channels: int) -> int:
    """First byte of a sample in such a file."""
    return wav.header_bytes(channels, "FLOAT") + 4 * channels * sample


class PartWriter:
    """Writes a part of each source over what `lay_out` made, or what is to be put there."""

    def __init__(self, directory: Path, sources: int, channels: int, start: int) -> None:
        """Args: start: the first sample."""
        self._files = [open_to_change(directory / f"source_{source}") for source in range(sources)]
        for file in self._files:
            file.seek(place_of(start, channels))

    def write(self, block: NDArray[np.float32]) -> None:
        """Go on with (sources, channels, samples)."""
        for file, samples in zip(self._files, block, strict=True):
            file.write(np.ascontiguousarray(samples.T, "<f4").data)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def open_to_change(path: Path) -> BinaryIO:
    """A file, new or not, of which a part is to be written over."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")
