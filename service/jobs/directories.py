"""The directories of jobs: brought to disk for good, measured, and cleaned of work in progress. Blocking."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from unmingle.service.jobs.store import Job
from unmingle.service.output.stems import StemSet

UPLOAD, STEMS = "upload", "stems"


def keep(upload: Path, directory: Path) -> None:
    """Move `upload` into the new `directory`, so that it is there after a crash."""
    directory.mkdir()
    os.replace(upload, directory / UPLOAD)
    for path in (directory / UPLOAD, directory, directory.parent):
        _sync(path)


def settle(stems: StemSet) -> None:
    """Bring stems to disk for good."""
    for path in (*stems.directory.iterdir(), stems.directory, stems.directory.parent):
        _sync(path)


def clean(directory: Path, kept: Iterable[Job]) -> None:
    """Delete what an earlier server left unfinished: directories of no job, and files of no use to theirs."""
    jobs = {job.id: job for job in kept}
    for entry in directory.iterdir():
        if entry.name in jobs:
            empty(entry, {"done": STEMS, "failed": ""}.get(jobs[entry.name].state, UPLOAD))
        else:
            shutil.rmtree(entry, ignore_errors=True)


def empty(directory: Path, except_for: str = "") -> None:
    """Delete all that is in `directory`, except for one entry."""
    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
        for path in directory.iterdir():
            if path.name != except_for:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def discard(directory: Path) -> None:
    """Delete `directory`, under whatever hands: nobody who knows it by its name gets to write there any more."""
    gone = directory.with_name(f"deleted-{directory.name}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(directory, gone)
    shutil.rmtree(gone, ignore_errors=True)


def fingerprint(upload: Path, parameters: str) -> str:
    """A hash of the upload and the parameters."""
    with upload.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(parameters.encode())
    return digest.hexdigest()


def disk_use(directory: Path) -> int:
    """Bytes of all files below `directory`."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):  # deleted meanwhile
                total += (Path(parent) / name).stat().st_size
    return total


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
