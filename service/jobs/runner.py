"""Runs jobs, one after the other on each worker, and sees that each comes to its end.

A job that lacks disk space is put on hold and tried again later: it was accepted, and space comes back. Whatever else
goes wrong fails this job only. The store has the last word: what cannot be written there is tried until it can.
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

from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.jobs import directories
from unmingle.service.jobs.admission import JobLimits
from unmingle.service.jobs.store import Job, JobStore
from unmingle.service.pipeline import Pipeline
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


@dataclasses.dataclass(frozen=True)
class _Hold:
    """A job that waits for disk space. Times are of time.monotonic()."""

    since: float
    until: float
    wait_s: float
    problem: dict[str, Any]


class JobRunner:
    """The workers. Belongs to one event loop."""

    def __init__(self, store: JobStore, directory: Path, pipeline: Pipeline, limits: JobLimits) -> None:
        self._store, self._directory, self._pipeline, self._limits = store, directory, pipeline, limits
        self._running: dict[str, _Run] = {}
        self._held: dict[str, _Hold] = {}
        self.dropped: set[str] = set()
        """Jobs that are being deleted."""
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        self._tasks = [asyncio.create_task(self._begin())]

    async def stop(self) -> None:
        """Let jobs that run wait for the next server."""
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
                await asyncio.to_thread(self._recover)
                break
            except (OSError, sqlite3.Error) as error:
                log.error("Jobs of the server before cannot be taken up (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]

    def _recover(self) -> None:
        jobs = self._store.all()
        directories.clean(self._directory, jobs)
        for job in jobs:
            if not (self._directory / job.id).is_dir():  # its deletion was under way
                self._store.remove(job.id)
            elif job.state == "running":
                self._store.requeue(job.id, forgive=False)
                log.info("a job is begun again", extra={"job": job.id, "attempts": job.attempts})

    async def _work(self) -> None:
        """Run one job after the other, whatever happens to each."""
        while True:
            try:
                await self._work_once()
            except Exception:
                log.exception("Jobs cannot be worked on; trying again")
                await asyncio.sleep(_RETRY_S)

    async def _work_once(self) -> None:
        self._wake.clear()
        ready = self._pipeline.engine.state == "ok"
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
        self._running[job.id] = _Run(task, control)
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error

    async def _run(self, job: Job, control: Control) -> None:
        try:
            await self._separate(job, control)
        except asyncio.CancelledError:
            if job.id not in self.dropped:
                with contextlib.suppress(sqlite3.Error):  # the next server finds it running, and begins it again
                    self._store.requeue(job.id, forgive=True)
            raise
        except Exception as error:
            await self._fail(job, error)
        else:
            await self._record(self._store.finish, job.id)
            self._held.pop(job.id, None)
            log.info("job done", extra={"job": job.id})
            with contextlib.suppress(OSError):
                await asyncio.to_thread((self._directory / job.id / directories.UPLOAD).unlink, True)

    async def _separate(self, job: Job, control: Control) -> None:
        if job.attempts > _MAX_ATTEMPTS:
            raise Problem("internal", f"The server ended {_MAX_ATTEMPTS} times while it worked on this job.")
        directory = self._directory / job.id
        parameters = SeparateParameters.model_validate_json(job.parameters)

        def measured(recording: DecodedRecording) -> None:
            self._store.measured(job.id, recording.samples / recording.sample_rate)
            self._check_room(recording, parameters)

        await self._pipeline.separate(
            directory / directories.UPLOAD,
            directory,
            parameters,
            self._limits.decode,
            directories.settle,
            timeout_s=None,
            control=control,
            on_decoded=measured,
        )

    def _check_room(self, recording: DecodedRecording, parameters: SeparateParameters) -> None:
        stems = self._pipeline.engine.separator.most_stems(parameters.options, recording.channels)
        needed = 4 * recording.samples * recording.channels * stems
        used, most = directories.disk_use(self._directory), self._limits.max_disk_bytes
        if needed > most:
            raise Problem(
                "recording_too_large",
                f"The stems take {needed} bytes; expected at most {most}, the disk space of all jobs. "
                "Ask for fewer sources, or cut the recording into parts.",
                extra={"limit": most, "unit": "bytes"},
            )
        if used + needed > most:
            raise Problem("disk_full", f"The stems take {needed} bytes, and jobs take {used} of {most} already.")

    async def _fail(self, job: Job, error: Exception) -> None:
        """A job did not come to its end: it is put back, put on hold, or has failed."""
        if job.id in self.dropped:  # its files go, or are gone
            return
        problem = from_exception(error)
        directory = self._directory / job.id
        if problem.code == "not_ready":  # the server ends; the next one does it
            await self._record(self._store.requeue, job.id, forgive=True)
            return
        body = {"code": problem.code, "status": problem.status, "detail": problem.detail, **problem.extra}
        if problem.code == "disk_full" and self._hold(job.id, body):
            await asyncio.to_thread(directories.empty, directory, directories.UPLOAD)
            await self._record(self._store.requeue, job.id, forgive=True)
            log.warning("a job waits for disk space", extra={"job": job.id})
            return
        if problem.code == "internal":
            log.error("A job failed", extra={"job": job.id}, exc_info=error)
        await asyncio.to_thread(directories.empty, directory)
        await self._record(self._store.finish, job.id, body)
        self._held.pop(job.id, None)
        log.info("job failed", extra={"job": job.id, "problem": problem.code})

    def _hold(self, job_id: str, problem: dict[str, Any]) -> bool:
        """Put a job on hold; False when it was for as long as results are kept."""
        now, before = time.monotonic(), self._held.get(job_id)
        since, wait_s = (before.since, min(2 * before.wait_s, _LONGEST_HOLD_S)) if before else (now, _FIRST_HOLD_S)
        self._held[job_id] = _Hold(since, now + wait_s, wait_s, problem)
        return now - since <= self._limits.keep_s

    async def _record(self, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write to the store, again and again until it works: the disk may be full for a while."""
        while True:
            try:
                await asyncio.to_thread(write, *args, **kwargs)
                return
            except (OSError, sqlite3.Error) as error:
                log.error("The state of a job cannot be written down (%s); trying again", error)
                await asyncio.sleep(_RETRY_S)
