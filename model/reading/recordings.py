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
            start = time.perf_counter()
            for block in stream.blocks():
                self.decode_s += time.perf_counter() - start
                # Whoever gets a block may keep it, and decoders write over theirs.
                yield mixed(block.T.copy(), self.channels)
                start = time.perf_counter()
            self.warnings = stream.warnings

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


def mixed(block: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Leave the channels as they are, or mix them down."""
    return block if len(block) == channels else block.mean(0, keepdims=True, dtype=np.float32)
