"""Runs jobs, one after the other on each worker, and makes sure that each finishes.

A job that lacks disk space is put on hold and tried again later, since it was accepted. Any other error fails this job
only. What cannot be written to the store is retried until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from unmingle.service.jobs import directories
from unmingle.service.jobs.changes import Changes
from unmingle.service.jobs.leases import JobLeases, too_large
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.store import Job, JobStore
from unmingle.service.pipeline import DECODED, Decoded, Pipeline
from unmingle.service.problems import Problem, from_exception
from unmingle.service.scheduling.engine import Control
from unmingle.service.schemas import SeparateParameters

log = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3
_RETRY_S = 2.0
_LOOK_S = 0.2
_FIRST_HOLD_S, _LONGEST_HOLD_S = 2.0, 60.0
_CANCEL_S = 0.8

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class _Run:
    task: asyncio.Task[None]
    control: Control
    audio_seconds: float | None


@dataclasses.dataclass(frozen=True)
class _Hold:
    """A job that waits for disk space. Times are of time.monotonic()."""

    since: float
    until: float
    wait_s: float
    problem: dict[str, Any]


class JobRunner:
    """The workers. Belongs to one event loop."""

    def __init__(
        self,
        store: JobStore,
        directory: Path,
        pipeline: Pipeline,
        limits: JobLimits,
        leases: JobLeases,
        changes: Changes,
        takes_work: Callable[[], bool],
    ) -> None:
        """Args: takes_work: whether jobs may be begun now."""
        self._store, self._directory, self._pipeline, self._limits = store, directory, pipeline, limits
        self._leases, self._changes, self._takes_work = leases, changes, takes_work
        self.recovered = False
        """Whether the jobs of an earlier server have been resumed."""
        self._running: dict[str, _Run] = {}
        self._held: dict[str, _Hold] = {}
        self.dropped: set[str] = set()
        """Jobs that are being deleted."""
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Resume what an earlier server left, and start working."""
        self._tasks = [asyncio.create_task(self._begin())]

    async def stop(self) -> None:
        """Put running jobs back into the queue for the next server."""
        while self._tasks or self._running:
            ending = [*self._tasks, *(run.task for run in self._running.values())]
            self._tasks = []
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def progress(self, job_id: str) -> float | None:
        """0 to 1; None where the job does not run."""
        return self._running[job_id].control.done if job_id in self._running else None

    def first_done_s(self) -> float | None:
        """Until the first job that runs is done; None where that is not known."""
        factor = self._pipeline.engine.real_time_factor
        left = [
            run.audio_seconds * (1 - run.control.done) * factor
            for run in self._running.values()
            if run.audio_seconds is not None
        ]
        return min(left, default=None)

    def obstacle(self, job_id: str) -> dict[str, Any] | None:
        """What a job that waits is waiting for, apart from its turn."""
        return self._held[job_id].problem if job_id in self._held else None

    async def drop(self, job_id: str) -> None:
        """Stop a job if it runs, and never begin it (again)."""
        self.dropped.add(job_id)
        self._held.pop(job_id, None)
        if run := self._running.get(job_id):
            run.task.cancel()
            await asyncio.wait({run.task}, timeout=_CANCEL_S)

    async def _begin(self) -> None:
        while True:
            try:
                for job, disk_bytes in await asyncio.to_thread(self._recover):
                    self._leases.restore(job, disk_bytes)
                break
            except (OSError, sqlite3.Error) as error:
                log.error("Jobs of the previous server cannot be resumed (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
        self.recovered = True
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]

    def _recover(self) -> list[tuple[Job, int]]:
        """The jobs that there are, and what they have on disk."""
        jobs, found = self._store.all(), []
        aside = self._directory.with_name("set-aside")
        if count := directories.clean(self._directory, jobs, aside, keep_unknown=self._store.is_new):
            log.error(
                "%d job directories belong to no known job and were moved to %s. Delete them when you no longer need "
                "them.",
                count,
                aside,
            )
        for job in jobs:
            directory = self._directory / job.id
            if not directory.is_dir():  # its deletion was under way
                log.info("a job without files is removed", extra={"job": job.id})
                self._store.remove(job.id)
                continue
            found.append((job, directories.disk_use(directory)))
            if job.state == "running":
                self._store.requeue(job.id, forgive=False)
                log.info("a job is begun again", extra={"job": job.id, "attempts": job.attempts})
        return found

    async def _work(self) -> None:
        """Run one job after the other, whatever happens to each."""
        while True:
            try:
                await self._work_once()
            except Exception:
                log.exception("Jobs cannot be run; trying again")
                await asyncio.sleep(_RETRY_S)

    async def _work_once(self) -> None:
        self._wake.clear()
        ready = self._takes_work()
        now = time.monotonic()
        skipped = self.dropped | {job_id for job_id, hold in self._held.items() if hold.until > now}
        job = await asyncio.to_thread(self._store.claim, skipped) if ready else None
        if job is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if ready and not self._held else _LOOK_S):
                    await self._wake.wait()
            return
        self._wake.set()  # another worker may find the next one
        control = Control()
        task = asyncio.create_task(self._run(job, control))
        self._running[job.id] = _Run(task, control, job.audio_seconds)
        self._changes.tell()
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error

    async def _run(self, job: Job, control: Control) -> None:
        try:
            await self._separate(job, control)
        except asyncio.CancelledError:
            if job.id not in self.dropped:
                with contextlib.suppress(sqlite3.Error):  # the next server finds it running and starts it again
                    self._store.requeue(job.id, forgive=True)
            raise
        except Exception as error:
            await self._fail(job, error)
        else:
            await self._record(self._store.finish, job.id)
            await self._settle(job.id)
            self._held.pop(job.id, None)
            log.info("job done", extra={"job": job.id})

    async def _separate(self, job: Job, control: Control) -> None:
        if job.attempts > _MAX_ATTEMPTS:
            raise Problem("internal", f"The server ended {_MAX_ATTEMPTS} times while it worked on this job.")
        directory = self._directory / job.id
        parameters = SeparateParameters.model_validate_json(job.parameters)

        upload_bytes = self._leases.disk_bytes(job.id)

        async def decoded(recording: Decoded) -> None:
            await asyncio.to_thread(self._store.measured, job.id, recording.seconds)
            if run := self._running.get(job.id):
                self._running[job.id] = dataclasses.replace(run, audio_seconds=recording.seconds)
            self._changes.tell()
            needed = upload_bytes + recording.audio_bytes + recording.stem_bytes
            if needed > self._limits.max_disk_bytes:
                raise too_large(needed, self._limits.max_disk_bytes)
            self._leases.take(job.id, needed)

        stems = await self._pipeline.separate(
            directory / directories.UPLOAD,
            directory,
            parameters,
            self._limits.decode,
            lambda separate: separate,
            decoded,
            control=control,
        )
        await asyncio.to_thread((directory / DECODED).unlink, missing_ok=True)
        await asyncio.to_thread(directories.settle, stems)

    async def _settle(self, job_id: str) -> None:
        """A job has finished: delete its upload, and hold only what is left."""
        self._leases.finished(job_id)
        directory = self._directory / job_id
        with contextlib.suppress(OSError):
            await asyncio.to_thread((directory / directories.UPLOAD).unlink, True)
        self._leases.has(job_id, await asyncio.to_thread(directories.disk_use, directory))
        self._changes.tell()

    async def _fail(self, job: Job, error: Exception) -> None:
        """A job did not finish: requeue it, put it on hold, or fail it."""
        if job.id in self.dropped:  # its files are being deleted
            return
        problem = from_exception(error)
        directory = self._directory / job.id
        if problem.code == "not_ready":  # the server ends; the next one does it
            await self._record(self._store.requeue, job.id, forgive=True)
            return
        body = {"code": problem.code, "status": problem.status, "detail": problem.detail, **problem.extra}
        if problem.code == "disk_full" and self._hold(job.id, body):
            await asyncio.to_thread(directories.empty, directory, directories.UPLOAD)
            self._leases.has(job.id, await asyncio.to_thread(directories.disk_use, directory))
            await self._record(self._store.requeue, job.id, forgive=True)
            self._changes.tell()
            log.warning("a job waits for disk space", extra={"job": job.id})
            return
        if problem.code == "internal":
            log.error("A job failed", extra={"job": job.id}, exc_info=error)
        await asyncio.to_thread(directories.empty, directory)
        await self._record(self._store.finish, job.id, body)
        await self._settle(job.id)
        self._held.pop(job.id, None)
        log.info("job failed", extra={"job": job.id, "problem": problem.code})

    def _hold(self, job_id: str, problem: dict[str, Any]) -> bool:
        """Put a job on hold; False when it was for as long as results are kept."""
        now, before = time.monotonic(), self._held.get(job_id)
        since, wait_s = (before.since, min(2 * before.wait_s, _LONGEST_HOLD_S)) if before else (now, _FIRST_HOLD_S)
        self._held[job_id] = _Hold(since, now + wait_s, wait_s, problem)
        return now - since <= self._limits.keep_s

    async def _record(self, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write to the store, and retry until it works: the disk may be full for a while."""
        while True:
            try:
                await asyncio.to_thread(write, *args, **kwargs)
                return
            except (OSError, sqlite3.Error) as error:
                log.error("The state of a job cannot be written down (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
