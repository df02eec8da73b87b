"""Decoded recordings on disk: `NAME.int16` has the samples of many, end to end; `NAME.json` says what they are.

The samples are little-endian and mono. A name ends in a key that depends on each file's name, size and time of change,
on its speaker, and on the sample rate, so a shard that is there is the right one. It appears whole or not at all: what
was killed goes on with the first shard that is missing. The samples are mapped into memory, so that a corpus takes only
what is in use.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from unmingle.model.threads import usable_cores
from unmingle.training.audio_files import Decoded, decode
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording

VERSION = 1
"""Raised when recordings come to be decoded differently."""
SHARD_BYTES = 256 * 2**20
"""Files of about so many bytes make a shard: some hours of compressed speech."""
_ABANDONED_S = 3600.0
"""A partial file that nobody has written to for so long is left from a process that was killed."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some recordings of a corpus. What is per recording is of those that have samples, in their order.

    Attributes:
        name: of its files, without suffix.
        samples: the file of int16 samples; or the samples themselves, where nothing is kept on disk.
        path, speaker, dataset, is_speech: per recording, as of `Recording`.
        length: per recording, in samples.
        rms: per recording, of full scale 1.
        digest: per recording, SHA-256 of the file, in hexadecimal.
        problems: what was wrong with files, a sentence each.
        unreadable: files that are no audio, a sentence each.
    """

    name: str
    samples: Path | NDArray[np.int16]
    path: Sequence[str]
    speaker: Sequence[str]
    dataset: Sequence[str]
    is_speech: Sequence[bool]
    length: Sequence[int]
    rms: Sequence[float]
    digest: Sequence[str]
    problems: Sequence[str]
    unreadable: Sequence[str]


_COLUMNS = [field.name for field in dataclasses.fields(Shard) if field.name not in ("name", "samples")]


def write_shards(
    folder: Path | None,
    recordings: Iterable[Recording],
    sample_rate: int,
    prefix: str = "",
    keep_going: bool = False,
    threads: int = 0,
    option: str = "--cache",
) -> Iterator[Shard]:
    """Decode recordings to mono int16, several at a time, showing progress; shards that are there are not made again.

    Args:
        folder: made if need be; in memory if None.
        recordings: any order, which is kept.
        sample_rate: Hz.
        prefix: of the names of the shards.
        keep_going: files that are no audio are left out and listed; otherwise nothing is kept of their shards.
        threads: that decode; 0 is one for each core.
        option: of the command, by which the folder was named.

    Raises:
        TrainingError: the folder cannot be written to.
    """
    parts = list(_parts(recordings))
    if folder:
        _make(folder, option)
    with (
        tqdm(
            total=sum(map(len, parts)),
            desc=f"decoding {prefix.strip('-')}".strip(),
            unit="file",
            delay=2.0,
            mininterval=0.5 if sys.stderr.isatty() else 20.0,
        ) as bar,
        ThreadPoolExecutor(threads or usable_cores()) as pool,
    ):
        try:
            for number, files in enumerate(parts):
                name = f"{prefix}{number:05d}-{_key(files, sample_rate)}"
                known = read_shard(folder, name) if folder else None
                if known:
                    bar.update(len(files))
                    yield known
                else:
                    with _Writer(folder, name, keep_going, option) as writer:
                        for recording, decoded in zip(files, _decoded(pool, files, sample_rate, threads), strict=True):
                            writer.add(recording, decoded)
                            bar.update()
                        yield writer.finish()
        finally:
            pool.shutdown(cancel_futures=True)


def read_shard(folder: Path, name: str) -> Shard | None:
    """What `write_shards` left; None if there is nothing, or nothing whole."""
    samples = folder / f"{name}.int16"
    try:
        told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        shard = Shard(name, samples, **{column: told[column] for column in _COLUMNS})
        return shard if samples.stat().st_size == 2 * sum(shard.length) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


class Fingerprint:
    """The same for the same files, by content, of the same speakers, in the same order."""

    def __init__(self, sample_rate: int) -> None:
        self._hash = hashlib.sha256(f"{VERSION} {sample_rate}".encode())

    def add(self, shard: Shard) -> None:
        """Take up the next shard."""
        for digest, speaker in zip(shard.digest, shard.speaker, strict=True):
            self._hash.update(bytes.fromhex(digest) + speaker.encode() + b"\0")

    def text(self) -> str:
        """Of all that was added, in hexadecimal."""
        return self._hash.hexdigest()


def _parts(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    """Neighbours of about SHARD_BYTES together."""
    part: list[Recording] = []
    there = 0
    for recording in recordings:
        size = _state(recording.path)[0]
        if part and there + size > SHARD_BYTES:
            yield part
            part, there = [], 0
        part.append(recording)
        there += max(0, size)
    if part:
        yield part


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _key(files: Sequence[Recording], sample_rate: int) -> str:
    key = hashlib.sha256(f"{VERSION} {sample_rate}".encode())
    for r in files:
        told = (str(r.path.absolute()), *_state(r.path), r.speaker, r.is_speech, r.dataset, r.track)
        key.update(repr(told).encode())
    return key.hexdigest()[:16]


def _make(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob("*.partial"):
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"The folder {folder} for decoded recordings cannot be written to ({error.strerror}): give another "
            f"folder with {option}."
        ) from error


def _decoded(pool: ThreadPoolExecutor, files: Sequence[Recording], sample_rate: int, threads: int) -> Iterator[Decoded]:
    """In the order of the files; only a few are in memory at a time."""
    ahead: deque[Future[Decoded]] = deque()
    for recording in files:
        ahead.append(pool.submit(decode, recording.path, sample_rate, recording.track))
        if len(ahead) > 2 * (threads or usable_cores()):
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


class _Writer:
    """Takes up one recording after the other. What was not finished leaves no file behind."""

    def __init__(self, folder: Path | None, name: str, keep_going: bool, option: str) -> None:
        self._folder, self._name, self._keep_going, self._option = folder, name, keep_going, option
        self._columns: dict[str, list[object]] = {column: [] for column in _COLUMNS}
        self._partials = (
            [folder / f"{name}.{os.getpid()}.{suffix}.partial" for suffix in ("int16", "json")] if folder else []
        )
        try:
            self._file = self._partials[0].open("wb") if self._partials else io.BytesIO()
        except OSError as error:
            raise self._full(error) from error

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._partials:
            self._file.close()
        for partial in self._partials:
            partial.unlink(missing_ok=True)

    def _full(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"Decoded recordings cannot be written to {self._folder} ({error.strerror}): make room, or give another "
            f"folder with {self._option}."
        )

    def add(self, recording: Recording, decoded: Decoded) -> None:
        """Append one recording, or what is wrong with it.

        Raises:
            TrainingError: the disk is full.
        """
        if decoded.problem:
            kind = "unreadable" if decoded.unreadable else "problems"
            self._columns[kind].append(f"{recording.path}: {decoded.problem}")
        if decoded.samples is None:
            return
        try:
            self._file.write(decoded.samples.astype("<i2", copy=False).tobytes())
        except OSError as error:
            raise self._full(error) from error
        for column, value in (
            ("path", str(recording.path)),
            ("speaker", recording.speaker),
            ("dataset", recording.dataset),
            ("is_speech", recording.is_speech),
            ("length", len(decoded.samples)),
            ("rms", decoded.rms),
            ("digest", decoded.digest.hex()),
        ):
            self._columns[column].append(value)

    def finish(self) -> Shard:
        """All that was added, as it is going to be read the next time."""
        told = self._columns
        if isinstance(self._file, io.BytesIO):
            return Shard(self._name, np.frombuffer(self._file.getbuffer(), np.int16), **told)  # type: ignore[arg-type]
        assert self._folder
        samples = self._folder / f"{self._name}.int16"
        if self._keep_going or not told["unreadable"]:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._partials[1].write_text(json.dumps(told), encoding="utf-8")
                os.replace(self._partials[0], samples)
                os.replace(self._partials[1], self._folder / f"{self._name}.json")
            except OSError as error:
                raise self._full(error) from error
        return Shard(self._name, samples, **told)  # type: ignore[arg-type]
