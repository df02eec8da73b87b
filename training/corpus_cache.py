"""Decoded corpora, kept in a folder: `KEY.int16` holds all samples end to end, `KEY.json` says what they are.

The key depends on each file's name, size and time of change, on its speaker, and on the sample rate. The samples are
mapped into memory, so that a corpus takes only what is in use, and is there at once when a run is resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording

_VERSION = 1
"""Raised when recordings come to be decoded differently."""


@dataclasses.dataclass(frozen=True)
class Index:
    """What the samples are.

    Attributes:
        used: indices of the recordings that have samples, in order.
        lengths: of these, in samples.
        rms: of these, of full scale 1.
        fingerprint: of the files' content and speakers.
        problems: what was wrong with files, a sentence each.
    """

    used: tuple[int, ...]
    lengths: tuple[int, ...]
    rms: tuple[float, ...]
    fingerprint: str
    problems: tuple[str, ...]


def read(cache: Path, recordings: Sequence[Recording], sample_rate: int) -> tuple[Index, Tensor] | None:
    """What `Writer` wrote for the same recordings; None if there is nothing, or nothing whole."""
    samples, about = _files(cache, recordings, sample_rate)
    try:
        told = json.loads(about.read_text())
        index = Index(
            tuple(told["used"]),
            tuple(told["lengths"]),
            tuple(told["rms"]),
            told["fingerprint"],
            tuple(told["problems"]),
        )
        if samples.stat().st_size == 2 * sum(index.lengths):
            return index, _mapped(samples, index)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


class Writer:
    """Takes up one recording after the other, in a file of the cache or, without one, in memory.

    As a context manager: what was not finished leaves no file behind.
    """

    def __init__(self, cache: Path | None, recordings: Sequence[Recording], sample_rate: int) -> None:
        """Raises:
        TrainingError: the cache cannot be written to.
        """
        self._recordings = recordings
        self._hash = hashlib.sha256(f"{_VERSION} {sample_rate}".encode())
        self._partial: Path | None = None
        self._file: IO[bytes] | io.BytesIO
        self.used: list[int] = []
        self._lengths: list[int] = []
        self._rms: list[float] = []
        if cache is None:
            self._file = io.BytesIO()
            return
        self._samples, self._about = _files(cache, recordings, sample_rate)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            self._partial = self._samples.with_suffix(f".{os.getpid()}.partial")
            self._file = self._partial.open("wb")
        except OSError as error:
            raise TrainingError(
                f"The cache for decoded recordings {cache} cannot be written to ({error.strerror}): give another "
                "folder with --cache."
            ) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def add(self, number: int, samples: NDArray[np.int16], digest: bytes) -> None:
        """Append one recording.

        Args:
            number: which of the recordings it is.
            samples: (samples,) of it.
            digest: of the file's bytes.

        Raises:
            TrainingError: the disk is full.
        """
        try:
            self._file.write(samples.tobytes())
        except OSError as error:
            raise TrainingError(
                f"The decoded recordings cannot be written to {self._partial} ({error.strerror}): make room, or give "
                "another folder with --cache."
            ) from error
        self.used.append(number)
        self._lengths.append(len(samples))
        level = np.mean(np.square(samples / np.float32(32768.0)), dtype=np.float64)
        self._rms.append(float(np.sqrt(level)))
        self._hash.update(digest + self._recordings[number].speaker.encode() + b"\0")

    def finish(self, problems: Sequence[str]) -> tuple[Index, Tensor]:
        """All that was added, as it is going to be read the next time."""
        index = Index(tuple(self.used), tuple(self._lengths), tuple(self._rms), self._hash.hexdigest(), tuple(problems))
        if isinstance(self._file, io.BytesIO):
            return index, torch.frombuffer(self._file.getbuffer(), dtype=torch.int16)
        assert self._partial
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._partial, self._samples)
        about = self._about.with_suffix(f".{os.getpid()}.partial")
        about.write_text(json.dumps(dataclasses.asdict(index)))
        os.replace(about, self._about)
        return index, _mapped(self._samples, index)


def _mapped(samples: Path, index: Index) -> Tensor:
    return torch.from_file(str(samples), shared=False, size=sum(index.lengths), dtype=torch.int16)


def _files(cache: Path, recordings: Sequence[Recording], sample_rate: int) -> tuple[Path, Path]:
    key = hashlib.sha256(f"{_VERSION} {sample_rate}".encode())
    for r in recordings:
        try:
            status = r.path.stat()
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        key.update(repr((str(r.path.absolute()), *state, r.speaker, r.is_speech, r.dataset)).encode())
    name = key.hexdigest()[:20]
    return cache / f"{name}.int16", cache / f"{name}.json"
