"""Recordings on disk, given to the separator block by block. Axes: (channels, samples).

Uploads are not decoded here but in unmingle.service.decoding.decoder, which trusts them with nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.model.errors import AudioError

_BLOCK_SAMPLES = 2**19
"""Samples of all channels together that are read at a time."""


class DecodedRecording:
    """A decoded upload: interleaved float32 in a file, known to be finite.

    Attributes:
        sample_rate: Hz.
        channels: how many.
        samples: per channel.
        decode_s: wall time that decoding took.
        warnings: what a listener should know about the file, in words.
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
        self.decode_s, self.warnings = decode_s, warnings

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read from the start."""
        with self._path.open("rb") as file:
            while data := file.read(4 * self._file_channels * max(1, _BLOCK_SAMPLES // self._file_channels)):
                yield _mixed(np.frombuffer(data, np.float32).reshape(-1, self._file_channels).T, self.channels)


class FileRecording:
    """An audio file of the user's own, in any format that libsndfile knows.

    Attributes: as of DecodedRecording.
    """

    def __init__(self, path: Path, *, mono: bool = False) -> None:
        """Look at the file.

        Raises:
            AudioError: it cannot be read, or has no samples; the message says why.
        """
        self._path = path
        self.decode_s, self.warnings = 0.0, ()
        with self._open() as file:
            self.sample_rate: int = file.samplerate
            self.channels: int = 1 if mono else file.channels
            self.samples: int = file.frames
        if self.samples == 0:
            raise AudioError("the recording has no samples; expected at least one.")

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read from the start.

        Raises:
            AudioError: the file is damaged, or has samples that are not finite.
        """
        with self._open() as file:
            done = 0
            while True:
                start = time.perf_counter()
                try:
                    block = file.read(max(1, _BLOCK_SAMPLES // file.channels), dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise AudioError(f"damaged after {done / file.samplerate:.2f} s ({error.error_string}).") from error
                self.decode_s += time.perf_counter() - start
                if not len(block):
                    return
                if not math.isfinite(float(block.sum(dtype=np.float64))) and not np.isfinite(block).all():
                    at = (done + int(np.argmin(np.isfinite(block).all(1)))) / file.samplerate
                    raise AudioError(f"a sample at {at:.4f} s is not finite (NaN or infinity); expected numbers only.")
                done += len(block)
                yield _mixed(block.T, self.channels)

    def _open(self) -> soundfile.SoundFile:
        try:
            if self._path.is_dir():
                raise AudioError("this is a directory; expected a file.")
            if self._path.stat().st_size == 0:
                raise AudioError("the file is empty; expected audio.")
            return soundfile.SoundFile(self._path)
        except FileNotFoundError as error:
            raise AudioError("there is no such file.") from error
        except soundfile.LibsndfileError as error:
            raise AudioError(f"not readable as audio ({error.error_string.rstrip('.')}).") from error
        except OSError as error:
            raise AudioError(f"not readable ({error.strerror}).") from error


def _mixed(block: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Leave the channels as they are, or mix them down."""
    return block if len(block) == channels else block.mean(0, keepdims=True, dtype=np.float32)
