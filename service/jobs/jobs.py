"""Jobs: recordings that take longer than a client waits. Each has a row in the database, and files.

Its files are `upload` until the job is done, then `stems`; whatever else is in its directory belongs to work in
progress and is deleted when a server starts. A job is accepted once its row is committed, and done once its stems are
kept and the row says so; if the server is killed in between, the job is started again from the upload, by whichever
server is there. Deleting removes files first, so that it works on a full disk; a row without files belongs to a job
that was being deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unmingle.service import tracing
from unmingle.service.decoding import audio_header
from unmingle.service.decoding.decoder import too_long
from unmingle.service.jobs import directories
from unmingle.service.jobs.changes import Changes
from unmingle.service.jobs.files import JobFiles
from unmingle.service.jobs.job import UNFINISHED, Job
from unmingle.service.jobs.leases import JobLeases
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.quota import Quota, QuotaError
from unmingle.service.jobs.results import JobResults
from unmingle.service.jobs.runner import JobRunner
from unmingle.service.jobs.sharing import Sharing
from unmingle.service.jobs.store import JobStore
from unmingle.service.jobs.upkeep import Upkeep
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.scheduling.capacity import Lease, Ledger
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import JobStatus, SeparateParameters

_THREADS = 32
_UNKNOWN_S = 60.0
"""Assumed duration of a job while the length of its recording is unknown."""


class Jobs:
    """All jobs of a server. Belongs to one event loop."""

    def __init__(
        self,
        store: JobStore,
        files: JobFiles,
        pipeline: Pipeline,
        limits: JobLimits,
        ledger: Ledger,
        earlier: str | None,
    ) -> None:
        """Args: earlier: the server before this one; None where no other server can have left jobs."""
        self.store, self._files = store, files
        self._pipeline, self._limits, self._ledger = pipeline, limits, ledger
        self.leases = JobLeases(ledger)
        self.changes = Changes()
        self._runner = JobRunner(store, files, pipeline, limits, self.leases, self.changes, self._takes_work, earlier)
        self.results = JobResults(files, limits.max_json_bytes, self.leases, pipeline.engine)
        self._sharing = Sharing(store, files, self._runner, self.leases, self.results, self.changes)
        self._tasks: list[asyncio.Task[None]] = []
        self._upkeep = Upkeep(store, files, self._runner, self.leases, self.results, limits.keep_s, self.delete)
        ledger.first_job_s = self._first_done_s

    def start(self) -> None:
        """Resume what an earlier server left, and start working."""
        if self._files.is_shared:  # files on their way to or from the store must not keep other work waiting
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "jobs"))
        self._runner.start()
        self._tasks = [asyncio.create_task(self._upkeep.sweep()), asyncio.create_task(self._upkeep.watch())]
        if self.store.is_shared:
            self._tasks.append(asyncio.create_task(self._sharing.run()))

    async def stop(self) -> None:
        """Put running jobs back into the queue for the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.results.stop()
        await self._runner.stop()
        if self.store.is_shared:
            with contextlib.suppress(OSError):  # then the others wait until the lease is over
                await asyncio.to_thread(self.store.members.leave)
        self.store.close()

    @property
    def recovering(self) -> bool:
        """Whether the jobs of the server before are still being taken up."""
        return not self._runner.recovered

    @property
    def fault(self) -> str | None:
        """Why jobs are unavailable at the moment; None if they are available."""
        if self.recovering:
            return "The jobs of the server before are being taken up."
        return self._upkeep.fault

    async def earlier(self, owner: str, idempotency_key: str | None) -> Job | None:
        """The job that a repeated request stands for, as far as that shows before its upload."""
        if idempotency_key is None or not owner:
            return None
        return await asyncio.to_thread(self.store.with_key, owner, idempotency_key)

    async def add(
        self, upload: Path, sha256: bytes, parameters: SeparateParameters, idempotency_key: str | None, lease: Lease
    ) -> tuple[Job, bool]:
        """Accept a job; the upload is moved. Returns it, and whether it is new.

        Args:
            upload: the file as it came.
            sha256: of the upload.
            parameters: how to separate.
            idempotency_key: the client's name for the request.
            lease: of the request; the job takes over what it needs.

        Raises:
            Problem: the upload is no audio that we read, or the idempotency key was used for another request, or there
                is no room for one more job.
        """
        owner = lease.owner
        header = await asyncio.to_thread(audio_header.inspect, upload)
        seconds = header.frames / header.sample_rate if header.frames and header.sample_rate else None
        if header.format in ("WAV", "Wave64") and seconds and seconds > self._limits.decode.max_seconds:
            raise too_long(self._limits.decode, f"lasts {seconds:.0f} s")
        text = parameters.model_dump_json(exclude_unset=True)
        fingerprint = directories.fingerprint(sha256, text)
        if idempotency_key is not None:
            if not owner:  # strangers may choose the same key, and must not learn of each other
                idempotency_key = f"{idempotency_key}\n{fingerprint}"
            earlier = await asyncio.to_thread(self.store.with_key, owner, idempotency_key)
            if earlier:
                return _same(earlier, fingerprint), False
        size = upload.stat().st_size
        lease.take(Resource.JOBS)
        lease.take(Resource.JOB_BYTES, size)
        job_id, traceparent = secrets.token_urlsafe(16), tracing.traceparent()

        def keep() -> Job:  # on a thread and never interrupted: a row and its files are made together or not at all
            try:
                self._files.keep(upload, job_id)
                job = self.store.add(
                    job_id, owner, text, fingerprint, idempotency_key, seconds, size, self._most(owner), traceparent
                )
            except BaseException:
                self._files.discard(job_id)
                raise
            if job.id != job_id:
                self._files.discard(job_id)
            return job

        keeping = asyncio.ensure_future(asyncio.to_thread(keep))
        try:
            job = await asyncio.shield(keeping)
        except asyncio.CancelledError:  # the client has left; the job exists or not
            await asyncio.wait({keeping})
            if not keeping.exception() and keeping.result().id == job_id:
                self._accepted(job_id, lease, size)
            raise
        except QuotaError as error:
            refusal = self._ledger.key_busy if error.of_owner else self._ledger.full
            raise refusal(Resource.JOBS, error.count, error.most) from error
        if job.id != job_id:
            return _same(job, fingerprint), False
        self._accepted(job_id, lease, size)
        return job, True

    def _accepted(self, job_id: str, lease: Lease, size: int) -> None:
        self.leases.accept(job_id, lease, size)
        self._runner.wake()
        self.changes.tell()

    def _most(self, owner: str) -> Quota | None:
        """What other servers must be asked about: where there are none, the ledger knows."""
        if not self.store.is_shared:
            return None
        of_key = self._ledger.limit_of_key(Resource.JOBS) if owner else math.inf
        return Quota(self._ledger.limit(Resource.JOBS), of_key)

    async def get(self, job_id: str, owner: str) -> Job:
        """A job of this owner.

        Raises:
            Problem: there is none.
        """
        job = None if job_id in self._runner.dropped else await asyncio.to_thread(self.store.get, job_id)
        if job is None or job.owner != owner:
            raise Problem("job_unknown", "There is no such job; it was deleted, has expired, or never existed.")
        return job

    async def ahead(self, job: Job) -> list[Job]:
        """Jobs that come before this one."""
        ahead: list[Job] = []
        if job.state == "queued":
            for other in await asyncio.to_thread(self.store.unfinished):
                if other.id == job.id:
                    break
                ahead.append(other)
        return ahead

    async def status(self, job: Job) -> JobStatus:
        """What a client may know of a job."""
        return self.status_among(job, await self.ahead(job))

    def status_among(self, job: Job, ahead: Sequence[Job]) -> JobStatus:
        """`status`, where the jobs before it are known."""
        left = self._expected_s([*ahead, job]) if job.state in UNFINISHED else None
        return JobStatus(
            id=job.id,
            state=job.state,
            position=len(ahead),
            progress=1.0 if job.state == "done" else round(self._progress(job), 4),
            time_left_s=None if left is None else round(left, 1),
            audio_seconds=job.audio_seconds,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created)),
            expires_in_s=None if job.state in UNFINISHED else max(0.0, round(self._limits.keep_s - job.age_s, 1)),
            # The runner may know of a problem before the store knows that the job is waiting again.
            problem=self._runner.obstacle(job.id) if job.state == "queued" else job.problem,
            result=f"/jobs/{job.id}/result" if job.state == "done" else None,
        )

    async def delete(self, job_id: str) -> None:
        """End a job, whatever its state, and free its disk space."""
        await self._runner.drop(job_id)
        self.results.forget(job_id)
        await asyncio.to_thread(self._files.discard, job_id)
        self.leases.deleted(job_id)
        self.changes.tell()
        await self._upkeep.forget(job_id)

    def _takes_work(self) -> bool:
        return self._pipeline.engine.state == "ok" and not self._ledger.closed

    def _first_done_s(self) -> float:
        first_s = self._runner.first_done_s()
        return _UNKNOWN_S if first_s is None else first_s

    def _progress(self, job: Job) -> float:
        """Known here where the job runs here; else as the server that runs it has last written it down."""
        here = self._runner.progress(job.id)
        if here is not None:
            return here
        return job.progress if job.state == "running" and job.server != self.store.server else 0.0

    def _expected_s(self, jobs: Sequence[Job]) -> float | None:
        """Until all of these are done; None where a length is not known yet."""
        total = 0.0
        for job in jobs:
            if job.audio_seconds is None:
                return None
            total += job.audio_seconds * (1 - self._progress(job))
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
