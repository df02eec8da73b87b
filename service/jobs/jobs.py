"""Jobs: recordings that take longer than a client waits. Each has a row in SQLite and a directory.

A directory holds `upload` until the job is done, then `stems`; whatever else is in it belongs to work in progress and
is thrown away when a server starts. A job is accepted once its row is committed, and done once its stems are on disk
and the row says so: killed in between, it is begun again from the upload. It is deleted files first, so that this works
on a full disk, too; a row without a directory is one whose deletion was under way.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from unmingle.service.decoding import audio_header
from unmingle.service.decoding.decoder import too_long
from unmingle.service.jobs import directories
from unmingle.service.jobs.admission import Arrival, JobAdmission, JobLimits
from unmingle.service.jobs.results import JobResults
from unmingle.service.jobs.runner import JobRunner
from unmingle.service.jobs.store import UNFINISHED, Job, JobStore
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.schemas import JobStatus, SeparateParameters

log = logging.getLogger(__name__)

_SWEEP_S = 10.0


class Jobs:
    """All jobs of a server. Belongs to one event loop."""

    def __init__(self, directory: Path, pipeline: Pipeline, limits: JobLimits) -> None:
        """Open what there is.

        Raises:
            OSError, sqlite3.Error: the directory cannot be used.
        """
        self._directory = directory / "jobs"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.store = JobStore(directory / "jobs.sqlite")
        self._pipeline, self._limits = pipeline, limits
        self._admission = JobAdmission(self.store, self._directory, limits, self._expected_s)
        self._runner = JobRunner(self.store, self._directory, pipeline, limits)
        self.results = JobResults(self._directory, limits.max_disk_bytes, limits.max_json_bytes)
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        self._runner.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Let jobs that run wait for the next server."""
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._runner.stop()
        self.store.close()

    @asynccontextmanager
    async def hold(self, owner: str, upload_bytes: int, idempotency_key: str | None) -> AsyncIterator[Arrival | None]:
        """Hold a slot for a job while its upload comes; None for a request that was accepted before and needs none.

        Raises:
            Problem: too many jobs, or no disk space for it; with Retry-After.
        """
        if idempotency_key is not None:
            earlier = await asyncio.to_thread(self.store.with_key, owner, idempotency_key)
            if earlier:
                yield None
                return
        async with self._admission.hold(owner, upload_bytes) as arrival:
            yield arrival

    async def add(
        self,
        upload: Path,
        parameters: SeparateParameters,
        owner: str,
        idempotency_key: str | None,
        arrival: Arrival | None,
    ) -> tuple[Job, bool]:
        """Accept a job; `upload` is moved. Returns it, and whether it is new.

        Raises:
            Problem: the upload is no audio that we read, or the idempotency key was used for another request.
        """
        header = await asyncio.to_thread(audio_header.inspect, upload)
        seconds = header.frames / header.sample_rate if header.frames and header.sample_rate else None
        if header.format in ("WAV", "Wave64") and seconds and seconds > self._limits.decode.max_seconds:
            raise too_long(self._limits.decode, f"lasts {seconds:.0f} s")
        text = parameters.model_dump_json(exclude_unset=True)
        fingerprint = await asyncio.to_thread(directories.fingerprint, upload, text)
        if idempotency_key is not None:
            earlier = await asyncio.to_thread(self.store.with_key, owner, idempotency_key)
            if earlier:
                return _same(earlier, fingerprint), False
        if arrival:
            await self._admission.measured(arrival, upload.stat().st_size)
        job_id = secrets.token_urlsafe(16)
        directory = self._directory / job_id

        def keep() -> Job:  # on a thread, and to its end: a row and its directory come together, or neither
            try:
                directories.keep(upload, directory)
                job = self.store.add(job_id, owner, text, fingerprint, idempotency_key, seconds)
            except BaseException:
                directories.discard(directory)
                raise
            if job.id != job_id:
                directories.discard(directory)
            return job

        job = await asyncio.to_thread(keep)
        if job.id != job_id:
            return _same(job, fingerprint), False
        self._runner.wake()
        return job, True

    async def get(self, job_id: str, owner: str) -> Job:
        """A job of this owner.

        Raises:
            Problem: there is none.
        """
        job = None if job_id in self._runner.dropped else await asyncio.to_thread(self.store.get, job_id)
        if job is None or job.owner != owner:
            raise Problem("job_unknown", "There is no such job; it was deleted, has expired, or never was.")
        return job

    async def status(self, job: Job) -> JobStatus:
        """What a client may know of a job."""
        ahead: list[Job] = []
        if job.state == "queued":
            for other in await asyncio.to_thread(self.store.unfinished):
                if other.id == job.id:
                    break
                ahead.append(other)
        left = self._expected_s([*ahead, job]) if job.state in UNFINISHED else None
        return JobStatus(
            id=job.id,
            state=job.state,
            position=len(ahead),
            progress=1.0 if job.state == "done" else round(self._runner.progress(job.id) or 0.0, 4),
            time_left_s=None if left is None else round(left, 1),
            audio_seconds=job.audio_seconds,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created)),
            expires_in_s=None if job.state in UNFINISHED else max(0.0, round(self._limits.keep_s - job.age_s, 1)),
            # The runner may know of an obstacle before the store knows that the job waits again.
            problem=self._runner.obstacle(job.id) if job.state == "queued" else job.problem,
            result=f"/jobs/{job.id}/result" if job.state == "done" else None,
        )

    async def delete(self, job_id: str) -> None:
        """End a job, whatever its state, and free its disk space."""
        await self._runner.drop(job_id)
        self.results.forget(job_id)
        await asyncio.to_thread(directories.discard, self._directory / job_id)
        await self._forget(job_id)

    async def _forget(self, job_id: str) -> None:
        try:
            await asyncio.to_thread(self.store.remove, job_id)
        except (OSError, sqlite3.Error) as error:  # it is gone for everybody but the store; the sweep tries again
            log.error("The row of a deleted job cannot be removed (%s)", error, extra={"job": job_id})
        else:
            self._runner.dropped.discard(job_id)

    async def _sweep(self) -> None:
        """Delete what has expired."""
        then = time.monotonic()
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._limits.keep_s / 4))
            now = time.monotonic()
            try:  # first what frees the disk, then what writes to it
                for job_id in tuple(self._runner.dropped):
                    await self._forget(job_id)
                for job_id in await asyncio.to_thread(self.store.expired, now - then, self._limits.keep_s):
                    await self.delete(job_id)
                await asyncio.to_thread(self.store.age, now - then)
                then = now
            except Exception:
                log.exception("Jobs that have expired cannot be deleted; trying again")

    def _expected_s(self, jobs: Sequence[Job]) -> float | None:
        """Until all of these are done; None where a length is not known yet."""
        total = 0.0
        for job in jobs:
            if job.audio_seconds is None:
                return None
            total += job.audio_seconds * (1 - (self._runner.progress(job.id) or 0.0))
        return total * self._pipeline.engine.real_time_factor


def _same(job: Job, fingerprint: str) -> Job:
    """The job that a repeated idempotency key stands for, if the request is the same."""
    if job.fingerprint != fingerprint:
        raise Problem(
            "idempotency_conflict",
            f"The Idempotency-Key '{job.idempotency_key}' was used for another recording or other parameters; "
            "expected a new key for a new request.",
        )
    return job
