"""Results of finished jobs, packed on request: the same file for the same request."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from unmingle.model.overview import Overview
from unmingle.service.jobs.files import JobFiles
from unmingle.service.jobs.job import Job
from unmingle.service.jobs.leases import JobLeases
from unmingle.service.output.package import Delivery, Package, pack
from unmingle.service.output.peaks import Peaks, peaks
from unmingle.service.output.stems import OVERVIEW, StemSet
from unmingle.service.problems import Problem
from unmingle.service.scheduling.engine import Control, Engine, StoppedError, Work
from unmingle.service.scheduling.worker import WorkFailedError
from unmingle.service.schemas import Manifest
from unmingle.service.workers.tasks import Pack

_KEPT_PER_JOB = 4
"""Packages of one job that are kept for the next request."""

_STEMS_KEPT_PER_JOB = 18
"""Stems alone that are kept beside them: all nine to be listened to piece by piece, and all nine to be saved."""

_AT_A_TIME = 2
"""Packages made at the same time. Packing an hour takes long and must not occupy all threads."""


class JobResults:
    """Packs, and keeps what was packed lately. Belongs to one event loop."""

    def __init__(self, files: JobFiles, max_json_bytes: int, leases: JobLeases, engine: Engine) -> None:
        self._files, self._max_json_bytes, self._leases = files, max_json_bytes, leases
        self._engine = engine
        self._packages: dict[str, dict[Delivery, tuple[Package, Path]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._packing: dict[str, set[Control]] = {}
        self._free = asyncio.Semaphore(_AT_A_TIME)

    async def package(self, job: Job, delivery: Delivery, place: Path) -> Package:
        """The package, with its files in the directory `place`: they are the caller's, and stay when the job goes.

        Cancelling this ends the packing.

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
                        made[delivery] = await self._make(job, delivery)
                package, _ = made[delivery] = made.pop(delivery)  # the latest comes last
                given = await asyncio.to_thread(_give, package, place)
                for old in _too_many(made):
                    await asyncio.to_thread(shutil.rmtree, made.pop(old)[1], True)
        except (FileNotFoundError, StoppedError) as error:
            self.forget(job.id)
            raise _deleted() from error
        return given

    async def manifest(self, job: Job) -> Manifest:
        """What is said about the stems of a job that is done.

        Raises:
            Problem: it is not done, or is deleted meanwhile.
        """
        _must_be_done(job)
        try:
            return (await asyncio.to_thread(self._files.stems, job, ())).manifest
        except FileNotFoundError as error:
            raise _deleted() from error

    async def peaks(self, job: Job, stem: int, start_s: float, end_s: float, parts: int) -> Peaks:
        """The outline of a part of a stem's waveform; of stem 0, that of all of them together.

        Raises:
            Problem: the job is not done, or is deleted meanwhile, or has no such stem.
        """
        _must_be_done(job)

        def look() -> Peaks:
            stems = self._files.stems(job, ())
            if stem > len(stems.files):
                raise Problem("parameter_invalid", f"stem={stem}, but there are {len(stems.files)}.")
            files = stems.files[stem - 1 : stem] if stem else stems.files
            self._files.stems(job, [file.name for file in files])
            rate, seconds = stems.manifest.sample_rate, stems.manifest.seconds
            start, end = round(start_s * rate), round(min(end_s, seconds) * rate)
            return peaks([stems.samples(file) for file in files], start, end, parts)

        try:
            async with self._free:
                return await asyncio.to_thread(look)
        except FileNotFoundError as error:
            raise _deleted() from error

    async def overview(self, job: Job) -> Overview:
        """What the separation looks like.

        Raises:
            Problem: the job is not done, or is deleted meanwhile, or has no overview.
        """
        _must_be_done(job)

        def look() -> Overview | None:
            stems = self._files.stems(job, ())
            with contextlib.suppress(FileNotFoundError):
                self._files.stems(job, (OVERVIEW,))
                return Overview.load(stems.directory / OVERVIEW)
            return None

        try:
            async with self._free:
                found = await asyncio.to_thread(look)
        except FileNotFoundError as error:
            raise _deleted() from error
        if found is None:
            raise Problem(
                "not_found",
                "This job has no map: its channels were separated one by one, or an earlier version did it.",
            )
        return found

    @asynccontextmanager
    async def idle(self, job_id: str) -> AsyncIterator[None]:
        """While nothing is packed of a job, and nothing is known to be packed."""
        async with self._locks.setdefault(job_id, asyncio.Lock()):
            self._packages.pop(job_id, None)
            yield

    def forget(self, job_id: str) -> None:
        """The job is deleted with all its files; packing it is stopped."""
        for control in self._packing.get(job_id, ()):
            control.stop()
        self._packages.pop(job_id, None)
        self._locks.pop(job_id, None)

    def stop(self) -> None:
        """End all packing."""
        for controls in self._packing.values():
            for control in controls:
                control.stop()

    async def _fetch(self, job: Job, stems: StemSet, files: Sequence[Path]) -> None:
        """See that the files are on this server's disk, which has room for them."""
        missing = [file for file in files if not file.exists()]
        if missing:
            samples_bytes = 4 * stems.manifest.samples * stems.manifest.channels
            self._leases.take(job.id, self._leases.disk_bytes(job.id) + len(missing) * samples_bytes)
            await asyncio.to_thread(self._files.stems, job, [file.name for file in missing])

    async def _make(self, job: Job, delivery: Delivery) -> tuple[Package, Path]:
        directory, control = self._files.directory(job.id), Control()
        stems = await asyncio.to_thread(self._files.stems, job, ())
        files = stems.files if delivery.stem is None else stems.files[delivery.stem - 1 : delivery.stem]
        await self._fetch(job, stems, files)
        if not delivery.is_as_it_is:
            size = sum(file.stat().st_size for file in files)
            self._leases.take(job.id, self._leases.disk_bytes(job.id) + size)
        place = directory / f"package-{secrets.token_hex(4)}"
        running = self._packing.setdefault(job.id, set())
        running.add(control)
        try:
            if delivery.is_as_it_is:  # nothing is computed, so it is to be had also where no worker is
                await asyncio.to_thread(place.mkdir)
                return await asyncio.to_thread(
                    pack, stems, delivery, place, self._max_json_bytes, lambda: control(1.0)
                ), place
            task = Pack(stems, delivery, place, self._max_json_bytes)
            return await self._engine.run(Work(task, 0.0, "packing", control)), place
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, place, True))
            if isinstance(error, WorkFailedError) and not stems.directory.exists():
                raise _deleted() from error
            raise
        finally:
            control.stop()
            running.discard(control)
            if not running:
                self._packing.pop(job.id, None)
            used = await asyncio.to_thread(self._files.disk_bytes, job.id, job.stored_bytes)
            self._leases.has(job.id, used)


def _too_many(made: Iterable[Delivery]) -> list[Delivery]:
    """Those that are kept no longer; the oldest come first."""
    alone = [delivery for delivery in made if delivery.stem is not None]
    packages = [delivery for delivery in made if delivery.stem is None]
    return alone[:-_STEMS_KEPT_PER_JOB] + packages[:-_KEPT_PER_JOB]


def _must_be_done(job: Job) -> None:
    if job.state == "failed":
        detail = (job.problem or {}).get("detail", "")
        raise Problem("job_failed", f"The job failed: {detail}", extra={"problem": job.problem})
    if job.state != "done":
        raise Problem("job_not_done", f"The job is {job.state}; its result comes later.", extra={"state": job.state})


def _deleted() -> Problem:
    return Problem("job_unknown", "There is no such job any more; it has just been deleted.")


def _give(package: Package, place: Path) -> Package:
    """The same package, whose files have a second name in `place`, or are copied where there are no second names."""
    places = {path: place / f"{number}-{path.name}" for number, path in enumerate(package.content.files)}
    for path, target in places.items():
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(path, target)
    return dataclasses.replace(package, content=package.content.moved(places))
