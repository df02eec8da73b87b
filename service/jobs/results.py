"""Stems of jobs that are done, packed as they are asked for: the same file for the same request."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import shutil
from pathlib import Path

from unmingle.service.jobs import directories
from unmingle.service.jobs.store import Job
from unmingle.service.output.package import Delivery, Package, pack
from unmingle.service.output.stems import StemSet
from unmingle.service.problems import Problem
from unmingle.service.schemas import Manifest

_KEPT_PER_JOB = 4
"""Packages of one job that stay for the next request, or the next part of one."""

_AT_A_TIME = 2
"""Packages that are made at the same time: packing an hour is work, and not to take all threads."""


class JobResults:
    """Packs, and keeps what was packed lately. Belongs to one event loop."""

    def __init__(self, directory: Path, max_disk_bytes: int, max_json_bytes: int) -> None:
        self._directory = directory
        self._max_disk_bytes, self._max_json_bytes = max_disk_bytes, max_json_bytes
        self._packages: dict[str, dict[Delivery, tuple[Package, Path]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._free = asyncio.Semaphore(_AT_A_TIME)

    async def package(self, job: Job, delivery: Delivery, target: Path) -> Package:
        """The package as the new file `target`, which is the caller's: it stays when the job is deleted.

        Raises:
            Problem: the job is not done, or is deleted meanwhile, or there is no disk space.
            ParameterError: the stems cannot be had so.
        """
        _must_be_done(job)
        try:
            async with self._locks.setdefault(job.id, asyncio.Lock()):
                made = self._packages.setdefault(job.id, {})
                if delivery not in made:
                    async with self._free:
                        made[delivery] = await asyncio.to_thread(self._pack, job, delivery)
                package, _ = made[delivery] = made.pop(delivery)  # the latest comes last
                await asyncio.to_thread(_give, package.path, target)
                while len(made) > _KEPT_PER_JOB:
                    _, place = made.pop(next(iter(made)))
                    await asyncio.to_thread(shutil.rmtree, place, True)
        except FileNotFoundError as error:
            self.forget(job.id)
            raise _deleted() from error
        return dataclasses.replace(package, path=target)

    async def manifest(self, job: Job) -> Manifest:
        """What is said about the stems of a job that is done.

        Raises:
            Problem: it is not done, or is deleted meanwhile.
        """
        _must_be_done(job)
        try:
            return (await asyncio.to_thread(StemSet.open, self._directory / job.id / directories.STEMS)).manifest
        except FileNotFoundError as error:
            raise _deleted() from error

    def forget(self, job_id: str) -> None:
        """The job is deleted, with all its files."""
        self._packages.pop(job_id, None)
        self._locks.pop(job_id, None)

    def _pack(self, job: Job, delivery: Delivery) -> tuple[Package, Path]:
        directory = self._directory / job.id
        stems = StemSet.open(directory / directories.STEMS)
        as_it_is = delivery.stem is not None and delivery.subtype in (None, "FLOAT")
        needed = 0 if as_it_is else sum(file.stat().st_size for file in stems.files)
        used = directories.disk_use(self._directory) if needed else 0
        if used + needed > self._max_disk_bytes:
            raise Problem(
                "disk_full",
                f"Jobs take {used} of {self._max_disk_bytes} bytes already, and this answer would take more; "
                "delete jobs that are done, or ask for one stem as audio/wav with subtype=FLOAT, which takes none.",
                extra={"limit": self._max_disk_bytes, "unit": "bytes"},
            )
        place = directory / f"package-{secrets.token_hex(4)}"
        place.mkdir()
        try:
            return pack(stems, delivery, place, self._max_json_bytes), place
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


def _must_be_done(job: Job) -> None:
    if job.state == "failed":
        detail = (job.problem or {}).get("detail", "")
        raise Problem("job_failed", f"The job failed: {detail}", extra={"problem": job.problem})
    if job.state != "done":
        raise Problem("job_not_done", f"The job is {job.state}; its result comes later.", extra={"state": job.state})


def _deleted() -> Problem:
    return Problem("job_unknown", "There is no such job any more; it was deleted just now.")


def _give(path: Path, target: Path) -> None:
    """Make `target` a second name of `path`, or a copy where the file system has no second names."""
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(path, target)
