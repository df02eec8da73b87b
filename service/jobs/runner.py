"""Runs jobs, one after the other on each worker, and makes sure that each finishes.

A job that lacks disk space, or whose files cannot be reached, is put on hold and tried again later, since it was
accepted. Any other error fails this job only. What cannot be written to the database is retried until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from unmingle.service import tracing
from unmingle.service.jobs import directories
from unmingle.service.jobs.changes import Changes
from unmingle.service.jobs.files import JobFiles
from unmingle.service.jobs.holds import Holds
from unmingle.service.jobs.job import Job
from unmingle.service.jobs.leases import JobLeases, too_large
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.store import JobStore
from unmingle.service.output.stems import StemSet
from unmingle.service.pipeline import DECODED, Decoded, Pipeline
from unmingle.service.problems import Problem, UnavailableError, from_exception
from unmingle.service.scheduling.engine import Control
from unmingle.service.schemas import SeparateParameters

log = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3
_RETRY_S = 2.0
_LOOK_S = 0.2
_CANCEL_S = 0.8

P = ParamSpec("P")
T = TypeVar("T")


class _GoneError(Exception):
    """The job has no files any more: it was being deleted."""


@dataclasses.dataclass(frozen=True)
class _Run:
    job: Job
    task: asyncio.Task[None]
    control: Control
    audio_seconds: float | None


class JobRunner:
    """The workers. Belongs to one event loop."""

    def __init__(
        self,
        store: JobStore,
        files: JobFiles,
        pipeline: Pipeline,
        limits: JobLimits,
        leases: JobLeases,
        changes: Changes,
        takes_work: Callable[[], bool],
        earlier: str | None,
    ) -> None:
        """Args:
        takes_work: whether jobs may be begun now.
        earlier: the server before this one; None where no other server can have left jobs.
        """
        self._earlier = earlier
        self._store, self._files, self._pipeline, self._limits = store, files, pipeline, limits
        self._leases, self._changes, self._takes_work = leases, changes, takes_work
        self.recovered = False
        """Whether the jobs of an earlier server have been resumed."""
        self._running: dict[str, _Run] = {}
        self._held = Holds(limits.keep_s)
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

    def runs(self) -> dict[str, tuple[int, float]]:
        """(run, progress) of the jobs that run here, by their ids."""
        return {job_id: (run.job.run, run.control.done) for job_id, run in self._running.items()}

    def lose(self, job_id: str) -> None:
        """The job is another server's by now, or was deleted there: end the work on it."""
        if run := self._running.get(job_id):
            log.warning("a job that ran here was deleted, or taken over, by another server", extra={"job": job_id})
            run.task.cancel()

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
        return self._held.problem(job_id)

    async def drop(self, job_id: str) -> None:
        """Stop a job if it runs, and never begin it (again)."""
        self.dropped.add(job_id)
        self._held.end(job_id)
        if run := self._running.get(job_id):
            run.task.cancel()
            await asyncio.wait({run.task}, timeout=_CANCEL_S)

    async def _begin(self) -> None:
        while True:
            try:
                for job, disk_bytes in await asyncio.to_thread(self._recover):
                    self._leases.restore(job, disk_bytes)
                break
            except OSError as error:
                log.error("Jobs of the previous server cannot be resumed (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
        self.recovered = True
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]

    def _recover(self) -> list[tuple[Job, int]]:
        """The jobs that there are, and what they have on disk."""
        for job in self._store.resume(self._earlier):
            log.info("a job is queued again that was left", extra={"job": job.id, "attempts": job.attempts})
        if self._store.is_shared:
            self._store.members.beat({})  # before the first claim: who gives no sign of life has no lease
        jobs, found = self._store.all(), []
        self._files.clean(jobs, keep_unknown=self._store.is_new)
        for job in jobs:
            if not self._files.exists(job.id):  # its deletion was under way
                log.info("a job without files is removed", extra={"job": job.id})
                self._store.remove(job.id)
                continue
            found.append((job, self._files.disk_bytes(job.id, job.stored_bytes)))
        return found

    async def _work(self) -> None:
        """Run one job after the other, whatever happens to each."""
        while True:
            try:
                await self._work_once()
            except UnavailableError as error:
                log.warning("Jobs cannot be run (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("Jobs cannot be run; trying again")
                await asyncio.sleep(_RETRY_S)

    async def _work_once(self) -> None:
        self._wake.clear()
        ready = self._takes_work()
        skipped = self.dropped | self._running.keys() | self._held.waiting()
        job = await asyncio.to_thread(self._store.claim, skipped) if ready else None
        if job is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if ready and not self._held else _LOOK_S):
                    await self._wake.wait()
            return
        if job.attempts > 1:
            log.info("a job is begun again", extra={"job": job.id, "attempts": job.attempts})
        self._wake.set()  # another worker may find the next one
        control = Control()
        task = asyncio.create_task(self._run(job, control))
        self._running[job.id] = _Run(job, task, control, job.audio_seconds)
        self._changes.tell()
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error

    async def _run(self, job: Job, control: Control) -> None:
        try:
            about: dict[str, tracing.Value] = {"unmingle.job": job.id, "unmingle.attempt": job.attempts}
            with tracing.span("job", about, kind="consumer", parent=job.traceparent):
                stored_bytes = await self._separate(job, control)
        except asyncio.CancelledError:
            if job.id not in self.dropped:
                with contextlib.suppress(OSError):  # the next server finds it running and starts it again
                    if not await asyncio.to_thread(self._store.requeue, job, forgive=True):
                        await asyncio.to_thread(self._files.retract, job)
            raise
        except Exception as error:
            await self._fail(job, error)
        else:
            if await self._finish(job, None, stored_bytes):
                log.info("job done", extra={"job": job.id})

    async def _separate(self, job: Job, control: Control) -> int:
        """Do it; bytes that are stored of it then."""
        if job.attempts > _MAX_ATTEMPTS:
            raise Problem("internal", f"The server ended {_MAX_ATTEMPTS} times while it worked on this job.")
        parameters = SeparateParameters.model_validate_json(job.parameters)
        upload_bytes, began = self._leases.disk_bytes(job.id), time.monotonic()
        try:
            directory = await asyncio.to_thread(self._files.begin, job)
        except FileNotFoundError as error:
            raise _GoneError from error

        async def decoded(recording: Decoded) -> None:
            await asyncio.to_thread(self._store.measured, job, recording.seconds)
            if run := self._running.get(job.id):
                self._running[job.id] = dataclasses.replace(run, audio_seconds=recording.seconds)
            self._changes.tell()
            needed = upload_bytes + recording.audio_bytes + self._files.copies * recording.stem_bytes
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
        return await self._publish(job, stems, time.monotonic() - began)

    async def _publish(self, job: Job, stems: StemSet, cost_s: float) -> int:
        """Keep the stems; where that fails it is tried for as long as it would take to make them again."""
        give_up = time.monotonic() + cost_s
        while True:
            try:
                return await asyncio.to_thread(self._files.publish, job, stems)
            except UnavailableError as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("The stems of a job cannot be stored (%s); trying again", error, extra={"job": job.id})
                await asyncio.sleep(_RETRY_S)

    async def _finish(self, job: Job, problem: dict[str, Any] | None, stored_bytes: int) -> bool:
        """Write down that a job has finished, and keep only what is left of it; False if it is not ours any more."""
        self._held.end(job.id)
        if not await self._record(self._store.finish, job, problem, stored_bytes):
            log.warning("a job that ran here is another server's by now, or deleted", extra={"job": job.id})
            await asyncio.to_thread(self._files.retract, job)
            return False
        self._leases.finished(job.id)
        await asyncio.to_thread(self._files.settle, job)
        self._leases.has(job.id, await asyncio.to_thread(self._files.disk_bytes, job.id, stored_bytes))
        self._changes.tell()
        return True

    async def _fail(self, job: Job, error: Exception) -> None:
        """A job did not finish: requeue it, put it on hold, or fail it."""
        if job.id in self.dropped:  # its files are being deleted
            return
        if isinstance(error, _GoneError):
            log.info("a job without files is removed", extra={"job": job.id})
            await self._record(self._store.remove, job.id)
            self._leases.deleted(job.id)
            return
        problem = from_exception(error)
        if problem.code == "not_ready" and not isinstance(error, UnavailableError):
            # The server ends; the next one does it.
            await self._record(self._store.requeue, job, forgive=True)
            return
        directory = self._files.directory(job.id)
        body = {"code": problem.code, "status": problem.status, "detail": problem.detail, **problem.extra}
        if (problem.code == "disk_full" or isinstance(error, UnavailableError)) and self._held.put(job.id, body):
            await asyncio.to_thread(directories.empty, directory, directories.UPLOAD)
            self._leases.has(job.id, await asyncio.to_thread(self._files.disk_bytes, job.id, job.stored_bytes))
            await self._record(self._store.requeue, job, forgive=True)
            self._changes.tell()
            log.warning("a job waits: %s", problem.detail, extra={"job": job.id})
            return
        if problem.code == "internal":
            log.error("A job failed", extra={"job": job.id}, exc_info=error)
        await asyncio.to_thread(directories.empty, directory)
        if await self._finish(job, body, 0):
            log.info("job failed", extra={"job": job.id, "problem": problem.code})

    async def _record(self, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write to the database, and retry until it works: its disk may be full for a while, or itself away."""
        while True:
            try:
                return await asyncio.to_thread(write, *args, **kwargs)
            except OSError as error:
                log.error("The state of a job cannot be written down (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
