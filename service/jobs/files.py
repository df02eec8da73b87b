"""The files of jobs: uploads until a job is done, then its stems. Blocking."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from unmingle.service.jobs import directories
from unmingle.service.jobs.directories import STEMS, UPLOAD
from unmingle.service.jobs.job import Job
from unmingle.service.output.stems import StemSet

log = logging.getLogger(__name__)

_IDENTITY = "files-id"


class JobFiles(Protocol):
    """Where the files of jobs are kept. Every job has a local directory, too, in which it is worked on.

    Attributes:
        place: names where they are, the same on every server that sees them; empty where they are beside the database.
        is_shared: whether other servers see the same files.
        copies: of each file: here alone, or also in a store.
    """

    @property
    def place(self) -> str: ...

    @property
    def is_shared(self) -> bool: ...

    @property
    def copies(self) -> int: ...

    def directory(self, job_id: str) -> Path:
        """Of the job on this server: for work in progress, and for answers made of its stems."""
        ...

    def keep(self, upload: Path, job_id: str) -> None:
        """Take over the upload of a new job, so that it is there after a crash."""
        ...

    def begin(self, job: Job) -> Path:
        """The job's directory, with its upload in it, and nothing else.

        Raises:
            FileNotFoundError: the job is deleted.
        """
        ...

    def publish(self, job: Job, stems: StemSet) -> int:
        """Keep the stems that a run has made, in its directory; bytes that they take where they are kept."""
        ...

    def settle(self, job: Job) -> None:
        """The job has finished: keep nothing but the stems of this run, if it has made any."""
        ...

    def retract(self, job: Job) -> None:
        """This run came to nothing: it was deleted, or is done by another server. Forget what it has made."""
        ...

    def stems(self, job: Job, names: Collection[str] | None = None) -> StemSet:
        """The stems of a job that is done, on this server's disk.

        Args:
            names: files that are needed besides the manifest; None for all stems.

        Raises:
            FileNotFoundError: there are none (any more).
        """
        ...

    def discard(self, job_id: str) -> None:
        """Delete all files of a job, also while others use them."""
        ...

    def forget(self, job_id: str) -> None:
        """Another server has deleted the job, or works on it: delete what is on this server."""
        ...

    def disk_bytes(self, job_id: str, stored_bytes: int) -> int:
        """What the job takes: of this server's disk and, if there is a store, `stored_bytes` there."""
        ...

    def clean(self, jobs: Sequence[Job], *, keep_unknown: bool) -> None:
        """Delete what an earlier server left unfinished on this server's disk.

        Args:
            jobs: that there are.
            keep_unknown: whether uploads without a job are not deleted.
        """
        ...

    def exists(self, job_id: str) -> bool:
        """Whether the job has files, as far as can be told without asking anybody."""
        ...

    def unused(self) -> list[str]:
        """Jobs whose copies on this server's disk are one too many; those that were used last come last."""
        ...

    def give_up(self, job_id: str) -> None:
        """Delete the copies on this server's disk, unless they have come to use meanwhile."""
        ...

    def sweep(self, known: Callable[[], Collection[str]]) -> None:
        """Delete what belongs to no job; called now and then.

        Args:
            known: gives the ids of all jobs.
        """
        ...

    def fault(self) -> str | None:
        """Why the files cannot be had just now; None where they can."""
        ...


class LocalFiles:
    """Files in the data directory: of a server that shares them with nobody."""

    is_shared, copies = False, 1

    def __init__(self, data_dir: Path, *, beside_database: bool) -> None:
        """Args: beside_database: whether the jobs are in a file in `data_dir`, too."""
        self._data_dir = data_dir
        self._directory, self._aside = data_dir / "jobs", data_dir / "set-aside"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.place = "" if beside_database else f"the data directory with the id {_identity(data_dir)}"

    def directory(self, job_id: str) -> Path:
        """See `JobFiles`."""
        return self._directory / job_id

    def keep(self, upload: Path, job_id: str) -> None:
        """See `JobFiles`."""
        directories.keep(upload, self.directory(job_id))

    def begin(self, job: Job) -> Path:
        """See `JobFiles`."""
        return self.directory(job.id)

    def publish(self, job: Job, stems: StemSet) -> int:
        """See `JobFiles`."""
        directories.settle(stems)
        return directories.disk_use(stems.directory)

    def settle(self, job: Job) -> None:
        """See `JobFiles`."""
        with contextlib.suppress(OSError):
            (self.directory(job.id) / UPLOAD).unlink(missing_ok=True)

    def retract(self, job: Job) -> None:
        """See `JobFiles`."""

    def stems(self, job: Job, names: Collection[str] | None = None) -> StemSet:
        """See `JobFiles`."""
        return StemSet.open(self.directory(job.id) / STEMS)

    def discard(self, job_id: str) -> None:
        """See `JobFiles`."""
        directories.discard(self.directory(job_id))

    def forget(self, job_id: str) -> None:
        """See `JobFiles`. There is no other server."""

    def disk_bytes(self, job_id: str, stored_bytes: int) -> int:
        """See `JobFiles`."""
        return directories.disk_use(self.directory(job_id))

    def clean(self, jobs: Sequence[Job], *, keep_unknown: bool) -> None:
        """See `JobFiles`."""
        # Jobs in a file here, and jobs in another database: those of one are unknown to the other.
        keep_unknown = keep_unknown or all((self._data_dir / name).exists() for name in (_IDENTITY, "jobs.sqlite"))
        if count := directories.clean(self._directory, jobs, self._aside, keep_unknown=keep_unknown):
            log.error(
                "%d job directories belong to no known job and were moved to %s. Delete them when you no longer need "
                "them.",
                count,
                self._aside,
            )

    def exists(self, job_id: str) -> bool:
        """See `JobFiles`."""
        return self.directory(job_id).is_dir()

    def unused(self) -> list[str]:
        """See `JobFiles`. There are no copies."""
        return []

    def give_up(self, job_id: str) -> None:
        """See `JobFiles`. There are no copies."""

    def sweep(self, known: Callable[[], Collection[str]]) -> None:
        """See `JobFiles`."""

    def fault(self) -> str | None:
        """See `JobFiles`."""
        return None


def _identity(data_dir: Path) -> str:
    """Made once, and kept in the directory."""
    path = data_dir / _IDENTITY
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text()
