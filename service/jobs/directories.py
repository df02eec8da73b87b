"""The directories of jobs: made durable, measured, and cleaned of unfinished work. Blocking."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from unmingle.service.jobs.job import Job
from unmingle.service.output.stems import StemSet

UPLOAD, STEMS = "upload", "stems"
_DELETED = "deleted-"

log = logging.getLogger(__name__)


def keep(upload: Path, directory: Path) -> None:
    """Move `upload` into the new `directory`, so that it is there after a crash."""
    directory.mkdir()
    os.replace(upload, directory / UPLOAD)
    for path in (directory / UPLOAD, directory, directory.parent):
        _sync(path)


def settle(stems: StemSet) -> None:
    """Make stems durable (fsync)."""
    for path in (*stems.directory.iterdir(), stems.directory, stems.directory.parent):
        _sync(path)


def clean(directory: Path, kept: Iterable[Job], set_aside: Path, *, keep_unknown: bool) -> int:
    """Delete what an earlier server left unfinished: uploads that were never accepted, and files that no job needs.

    A directory that has stems and no job is not deleted but moved to `set_aside`: the table of jobs may have been lost,
    or be an older copy.

    Args:
        directory: of all jobs.
        kept: the jobs that there are.
        set_aside: made when it is needed.
        keep_unknown: whether uploads without a job are set aside, too.

    Returns:
        How many were set aside.
    """
    jobs = {job.id: job for job in kept}
    count = 0
    for entry in directory.iterdir():
        if entry.name in jobs:
            empty(entry, {"done": STEMS, "failed": ""}.get(jobs[entry.name].state, UPLOAD))
        elif entry.name.startswith(_DELETED) or not (keep_unknown or (entry / STEMS).exists()):
            log.info("deleting what is left of a job that was deleted or never accepted: %s", entry.name)
            shutil.rmtree(entry, ignore_errors=True)
        else:
            set_aside.mkdir(exist_ok=True)
            os.replace(entry, set_aside / entry.name)
            count += 1
    return count


def empty(directory: Path, except_for: str = "") -> None:
    """Delete all that is in `directory`, except for one entry."""
    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
        for path in directory.iterdir():
            if path.name != except_for:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def discard(directory: Path) -> None:
    """Delete `directory` even while others use it; it is renamed first, so that nobody can write into it any more."""
    gone = directory.with_name(_DELETED + directory.name)
    with contextlib.suppress(FileNotFoundError):
        os.replace(directory, gone)
    shutil.rmtree(gone, ignore_errors=True)


def fingerprint(upload_sha256: bytes, parameters: str) -> str:
    """A hash of the upload and the parameters."""
    return hashlib.sha256(upload_sha256 + parameters.encode()).hexdigest()


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
