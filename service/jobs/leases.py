"""What jobs hold in the ledger: a slot until they are done, disk space until they are deleted."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from contextlib import contextmanager

from unmingle.service.jobs.job import UNFINISHED, Job, Standing
from unmingle.service.problems import Problem
from unmingle.service.scheduling.capacity import Lease, Ledger
from unmingle.service.scheduling.limits import Resource


class JobLeases:
    """One lease for each job that is kept. Belongs to one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._leases: dict[str, Lease] = {}
        self._downloads: collections.Counter[str] = collections.Counter()
        self._deleted: dict[str, Lease] = {}

    def restore(self, job: Job | Standing, disk_bytes: int) -> None:
        """A job that an earlier server accepted, or another one."""
        lease = self._leases.setdefault(job.id, self._ledger.kept_lease(job.owner))
        if job.state in UNFINISHED:
            lease.put(Resource.JOBS)
        else:
            lease.drop(Resource.JOBS)
        lease.put(Resource.JOB_BYTES, max(1, disk_bytes))

    def accept(self, job_id: str, arriving: Lease, upload_bytes: int) -> None:
        """A job takes over what its request holds."""
        lease = self._leases[job_id] = self._ledger.kept_lease(arriving.owner)
        lease.put(Resource.JOBS)
        lease.put(Resource.JOB_BYTES, upload_bytes)
        arriving.drop(Resource.JOBS, Resource.JOB_BYTES)

    def take(self, job_id: str, disk_bytes: int) -> None:
        """Raise the disk space that a job holds.

        Raises:
            Problem: there is not so much left; with Retry-After.
        """
        if job_id in self._leases:
            self._leases[job_id].take(Resource.JOB_BYTES, disk_bytes)

    def has(self, job_id: str, disk_bytes: int) -> None:
        """Set what a job holds to what it has on disk."""
        if job_id in self._leases:
            self._leases[job_id].put(Resource.JOB_BYTES, max(1, disk_bytes))

    def disk_bytes(self, job_id: str) -> int:
        """What is held for a job."""
        lease = self._leases.get(job_id)
        return int(lease.held.get(Resource.JOB_BYTES, 0)) if lease else 0

    def finished(self, job_id: str) -> None:
        """A job has finished."""
        if job_id in self._leases:
            self._leases[job_id].drop(Resource.JOBS)

    def deleted(self, job_id: str) -> None:
        """A job is deleted; its files are on disk for as long as somebody downloads them."""
        if lease := self._leases.pop(job_id, None):
            lease.drop(Resource.JOBS)
            if self._downloads[job_id]:
                self._deleted[job_id] = lease
            else:
                lease.end()

    @contextmanager
    def download(self, job_id: str, lease: Lease) -> Iterator[None]:
        """While `lease` sends what a job has on disk.

        Raises:
            Problem: too many downloads; with Retry-After.
        """
        lease.take(Resource.DOWNLOADS)
        self._downloads[job_id] += 1
        try:
            yield
        finally:
            self._downloads[job_id] -= 1
            if not self._downloads[job_id]:
                del self._downloads[job_id]
                if gone := self._deleted.pop(job_id, None):
                    gone.end()


def too_large(needed: int, most: float) -> Problem:
    """The problem of a job that would need more than all disk space of jobs."""
    return Problem(
        "recording_too_large",
        f"The recording and its stems take {needed} bytes; expected at most {most:.0f}, the disk space of all jobs. "
        "Ask for fewer sources, or cut the recording into parts.",
        extra={"limit": most, "unit": "bytes"},
    )
