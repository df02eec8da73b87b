"""Jobs: recordings that take longer than a client waits. Each has a row in SQLite and a directory.

A directory holds `upload` until the job is done, then `stems`; whatever else is in it belongs to work in progress and
is thrown away when a server starts. A job is accepted once its row is committed, and done once its stems are on disk
and the row says so: killed in between, it is begun again from the upload.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import secrets
import shutil
import sqlite3
import time
from pathlib import Path

from service import audio_header, job_files
from service.decoder import DecodeLimits, too_long
from service.engine import Control
from service.job_store import UNFINISHED, Job, JobStore
from service.package import Delivery, Package, pack
from service.problems import Problem, from_exception
from service.schemas import JobStatus, Manifest, SeparateParameters
from service.separation import Pipeline
from service.stems import StemSet

log = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3
_SWEEP_S = 10.0
_RETRY_S = 2.0


@dataclasses.dataclass(frozen=True)
class JobLimits:
    """How much is kept and for how long."""

    workers: int
    max_unfinished: int
    max_per_owner: int
    max_disk_bytes: int
    keep_s: float
    max_json_bytes: int
    decode: DecodeLimits


@dataclasses.dataclass(frozen=True)
class _Run:
    task: asyncio.Task[None]
    control: Control


class Jobs:
    """All jobs of a server. Belongs to one event loop."""

    def __init__(self, directory: Path, pipeline: Pipeline, limits: JobLimits) -> None:
        self._directory = directory / "jobs"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.store = JobStore(directory / "jobs.sqlite")
        self._pipeline, self._limits = pipeline, limits
        self._running: dict[str, _Run] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._packages: dict[tuple[str, Delivery], Package] = {}
        self._packing: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        await asyncio.to_thread(self._recover)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]
        self._tasks.append(asyncio.create_task(self._sweep()))

    async def stop(self) -> None:
        """Let jobs that run wait for the next server."""
        running = [run.task for run in self._running.values()]
        for task in (*self._tasks, *running):
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        self.store.close()

    async def admit(self, owner: str, upload_bytes: int = 0) -> None:
        """Say whether a job would be taken now.

        Raises:
            Problem: too many jobs, or no disk space for it.
        """
        unfinished = await asyncio.to_thread(self.store.unfinished)
        retry = {"Retry-After": str(max(1, math.ceil(self._expected_s(unfinished[:1]) or 60)))}
        if len(unfinished) >= self._limits.max_unfinished:
            raise Problem(
                "server_full",
                f"{len(unfinished)} jobs wait or run; expected fewer than {self._limits.max_unfinished}. "
                f"Try again in {retry['Retry-After']} s.",
                extra={"limit": self._limits.max_unfinished, "unit": "jobs"},
                headers=retry,
            )
        if owner and sum(job.owner == owner for job in unfinished) >= self._limits.max_per_owner:
            raise Problem(
                "key_busy",
                f"{self._limits.max_per_owner} jobs of this API key wait or run; expected no more at a time.",
                extra={"limit": self._limits.max_per_owner, "unit": "jobs"},
                headers=retry,
            )
        used = await asyncio.to_thread(job_files.disk_use, self._directory)
        if used + upload_bytes > self._limits.max_disk_bytes:
            raise Problem(
                "disk_full",
                f"Jobs take {used} of {self._limits.max_disk_bytes} bytes already; delete some that are done.",
                extra={"limit": self._limits.max_disk_bytes, "unit": "bytes"},
                headers=retry,
            )

    async def add(
        self, upload: Path, parameters: SeparateParameters, owner: str, idempotency_key: str | None
    ) -> tuple[Job, bool]:
        """Accept a job; `upload` is moved. Returns it, and whether it is new.

        Raises:
            Problem: the upload is no audio that we read, or the idempotency key was used for another request.
        """
        header = await asyncio.to_thread(audio_header.inspect, upload)
        seconds = header.frames / header.sample_rate if header.frames else None
        if header.format == "WAV" and seconds and seconds > self._limits.decode.max_seconds:
            raise too_long(self._limits.decode, f"lasts {seconds:.0f} s")
        text = parameters.model_dump_json(exclude_unset=True)
        fingerprint = await asyncio.to_thread(job_files.fingerprint, upload, text)
        if idempotency_key is not None:
            earlier = await asyncio.to_thread(self.store.with_key, owner, idempotency_key)
            if earlier:
                return _same(earlier, fingerprint), False
        await self.admit(owner, upload.stat().st_size)
        job_id = secrets.token_urlsafe(16)

        def keep() -> Job:
            job_files.keep(upload, self._directory / job_id)
            return self.store.add(job_id, owner, text, fingerprint, idempotency_key, seconds)

        try:
            job = await asyncio.to_thread(keep)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, self._directory / job_id, True)
            raise
        if job.id == job_id:
            self._wake.set()
            return job, True
        await asyncio.to_thread(shutil.rmtree, self._directory / job_id, True)
        return _same(job, fingerprint), False

    async def get(self, job_id: str, owner: str) -> Job:
        """A job of this owner.

        Raises:
            Problem: there is none.
        """
        job = await asyncio.to_thread(self.store.get, job_id)
        if job is None or job.owner != owner:
            raise Problem("job_unknown", "There is no such job; it was deleted, has expired, or never was.")
        return job

    async def status(self, job: Job) -> JobStatus:
        """What a client may know of a job."""
        ahead: list[Job] = []
        progress = {"queued": 0.0, "failed": 0.0, "done": 1.0}.get(job.state, 0.0)
        if job.id in self._running:
            progress = self._running[job.id].control.done
        if job.state == "queued":
            for other in await asyncio.to_thread(self.store.unfinished):
                if other.id == job.id:
                    break
                ahead.append(other)
        left = None
        if job.state in UNFINISHED:
            left = self._expected_s([*ahead, job])
        return JobStatus(
            id=job.id,
            state=job.state,
            position=len(ahead),
            progress=round(progress, 4),
            time_left_s=None if left is None else round(left, 1),
            audio_seconds=job.audio_seconds,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created)),
            expires_in_s=None if job.state in UNFINISHED else max(0.0, round(self._limits.keep_s - job.age_s, 1)),
            problem=job.problem,
            result=f"/jobs/{job.id}/result" if job.state == "done" else None,
        )

    async def result(self, job: Job, delivery: Delivery) -> Package:
        """The stems of a job that is done, packed; the same file for the same request.

        Raises:
            Problem: it is not done.
            ParameterError: the stems cannot be had so.
        """
        _must_be_done(job)
        directory = self._directory / job.id
        key = (job.id, delivery)
        async with self._packing.setdefault(job.id, asyncio.Lock()):
            if key not in self._packages:
                target = directory / f"package-{len(self._packages)}-{secrets.token_hex(4)}"

                def make() -> Package:
                    target.mkdir()
                    try:
                        return pack(StemSet.open(directory / "stems"), delivery, target, self._limits.max_json_bytes)
                    except BaseException:
                        shutil.rmtree(target, ignore_errors=True)
                        raise

                self._packages[key] = await asyncio.to_thread(make)
            return self._packages[key]

    async def manifest(self, job: Job) -> Manifest:
        """What is said about the stems of a job that is done.

        Raises:
            Problem: it is not done.
        """
        _must_be_done(job)
        return (await asyncio.to_thread(StemSet.open, self._directory / job.id / "stems")).manifest

    async def delete(self, job_id: str) -> None:
        """End a job, whatever its state, and free its disk space."""
        run = self._running.get(job_id)
        await asyncio.to_thread(self.store.remove, job_id)
        if run:
            run.task.cancel()
            await asyncio.wait({run.task}, timeout=0.8)
        for key in [key for key in self._packages if key[0] == job_id]:
            del self._packages[key]
        self._packing.pop(job_id, None)
        await asyncio.to_thread(shutil.rmtree, self._directory / job_id, True)

    def _recover(self) -> None:
        kept = self.store.all()
        job_files.clean(self._directory, kept)
        for job in kept:
            if job.state == "running":
                self.store.requeue(job.id, forgive=False)
                log.info("a job is begun again", extra={"job": job.id, "attempts": job.attempts})

    async def _work(self) -> None:
        """Run one job after the other."""
        while True:
            try:
                await self._work_once()
            except (OSError, sqlite3.Error):
                log.exception("Jobs cannot be kept; trying again")
                await asyncio.sleep(_RETRY_S)

    async def _work_once(self) -> None:
        self._wake.clear()
        state = self._pipeline.engine.state
        job = await asyncio.to_thread(self.store.claim) if state == "ok" else None
        if job is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if state == "ok" else 0.2):
                    await self._wake.wait()
            return
        self._wake.set()  # another worker may find the next one
        control = Control()
        task = asyncio.create_task(self._run(job, control))
        self._running[job.id] = _Run(task, control)
        try:
            await asyncio.wait({task})
        finally:
            self._running.pop(job.id, None)
        if not task.cancelled() and (error := task.exception()):
            raise error

    async def _run(self, job: Job, control: Control) -> None:
        directory = self._directory / job.id
        try:
            if job.attempts > _MAX_ATTEMPTS:
                raise Problem("internal", f"The server ended {_MAX_ATTEMPTS} times while it worked on this job.")
            await self._pipeline.separate(
                directory / "upload",
                directory,
                SeparateParameters.model_validate_json(job.parameters),
                self._limits.decode,
                job_files.settle,
                timeout_s=None,
                control=control,
                on_decoded=lambda seconds: self.store.measured(job.id, seconds),
            )
            await asyncio.to_thread(self.store.finish, job.id)
            await asyncio.to_thread((directory / "upload").unlink, True)
        except asyncio.CancelledError:
            self.store.requeue(job.id, forgive=True)
            raise
        except Exception as error:
            problem = from_exception(error)
            if problem.code == "not_ready":  # the server ends; the next one does it
                await asyncio.to_thread(self.store.requeue, job.id, forgive=True)
                return
            if problem.code == "internal":
                log.exception("A job failed", extra={"job": job.id})
            body = {"code": problem.code, "status": problem.status, "detail": problem.detail, **problem.extra}
            await asyncio.to_thread(self.store.finish, job.id, body)
            await asyncio.to_thread(job_files.empty, directory)
        log.info("job ended", extra={"job": job.id})

    async def _sweep(self) -> None:
        """Delete what has expired."""
        then = time.monotonic()
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._limits.keep_s / 4))
            now = time.monotonic()
            for job_id in await asyncio.to_thread(self.store.age, now - then, self._limits.keep_s):
                await self.delete(job_id)
            then = now

    def _expected_s(self, jobs: list[Job]) -> float | None:
        """Until all of these are done; None where a length is not known yet."""
        total = 0.0
        for job in jobs:
            if job.audio_seconds is None:
                return None
            done = self._running[job.id].control.done if job.id in self._running else 0.0
            total += job.audio_seconds * (1 - done)
        return total * self._pipeline.engine.real_time_factor / self._limits.workers


def _must_be_done(job: Job) -> None:
    if job.state == "failed":
        raise Problem(
            "job_failed",
            f"The job failed: {(job.problem or {}).get('detail', '')}",
            extra={"problem": job.problem},
        )
    if job.state != "done":
        raise Problem("job_not_done", f"The job is {job.state}; its result comes later.", extra={"state": job.state})


def _same(job: Job, fingerprint: str) -> Job:
    """The job that a repeated idempotency key stands for, if the request is the same."""
    if job.fingerprint != fingerprint:
        raise Problem(
            "idempotency_conflict",
            f"The Idempotency-Key '{job.idempotency_key}' was used for another recording or other parameters; "
            "expected a new key for a new request.",
        )
    return job
