"""Audio files given to the separator block by block. Axes: (channels, samples)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import AudioError
from unmingle.model.reading.audio import open_audio

_LEAST_LEFT = 0.1
"""Part of the power that a mono mix keeps where nothing cancels: an eighth, if only one of eight channels is heard."""


class FileRecording:
    """An audio file of the user's own, in any format that we read.

    Attributes:
        sample_rate: Hz.
        channels: how many.
        samples: per channel, as the file announces; 0 where it does not.
        format: the container and the codec, in words.
        decode_s: wall time that decoding took so far.
        warnings: what a listener should know about the file, complete once it was read to its end.
    """

    def __init__(self, path: Path, *, mono: bool = False, track: int | None = None) -> None:
        """Look at the file.

        Raises:
            AudioError: it cannot be read, or has no samples; the message says why.
        """
        self._path, self._track = path, track
        self.decode_s = 0.0
        self.warnings: tuple[str, ...] = ()
        with self._open() as file:
            stream = open_audio(file.fileno(), track)
            self.format = " ".join(dict.fromkeys((stream.header.format, stream.header.codec))).strip()
            self.sample_rate: int = stream.sample_rate
            self.channels: int = 1 if mono else stream.channels
            self.samples: int = stream.header.frames or 0

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read from the start.

        Raises:
            AudioError: the file is damaged, or has samples that are not finite.
        """
        with self._open() as file:
            stream = open_audio(file.fileno(), self._track)
            start, downmix = time.perf_counter(), Downmix()
            for block in stream.blocks():
                self.decode_s += time.perf_counter() - start
                # Whoever gets a block may keep it, and decoders write over theirs.
                own = block.T.copy()
                yield own if len(own) == self.channels else downmix.mixed(own)
                start = time.perf_counter()
            self.warnings = (*stream.warnings, *downmix.warnings())

    def _open(self) -> BinaryIO:
        try:
            if self._path.is_dir():
                raise AudioError("this is a directory; expected a file.")
            file = self._path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise AudioError("there is no such file.") from error
        except OSError as error:
            raise AudioError(f"not readable ({error.strerror}).") from error
        if not file.seekable():
            file.close()
            raise AudioError("this is a pipe or a device; expected a file.")
        return cast(BinaryIO, file)


class Downmix:
    """All channels of a recording mixed to one, block by block, with an eye on what is lost."""

    def __init__(self) -> None:
        self._whole = self._left = 0.0

    def mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) -> (1, samples), their mean."""
        found: NDArray[np.float32] = block.mean(0, keepdims=True, dtype=np.float32)
        self._whole += float(np.einsum("cs,cs->", block, block, dtype=np.float64)) / len(block)
        self._left += float(np.einsum("cs,cs->", found, found, dtype=np.float64))
        return found

    def warnings(self) -> tuple[str, ...]:
        """What a listener should know, after the last block."""
        if self._left >= self._whole * _LEAST_LEFT:
            return ()
        lost = f"{10 * np.log10(self._whole / self._left):.0f} dB" if self._left > 0 else "everything"
        return (f"The channels cancel each other in the mono mix: {lost} of the recording is lost. Do without mono.",)
