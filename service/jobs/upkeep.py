"""What is done about jobs by the clock: what has expired is deleted, and whether all can be had is looked at."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from unmingle.service.jobs.files import JobFiles
from unmingle.service.jobs.leases import JobLeases
from unmingle.service.jobs.results import JobResults
from unmingle.service.jobs.runner import JobRunner
from unmingle.service.jobs.store import JobStore
from unmingle.service.problems import UnavailableError

_SWEEP_S = 10.0
_WATCH_S = 2.0

log = logging.getLogger(__name__)


class Upkeep:
    """Of one server's jobs. Belongs to one event loop.

    Attributes:
        fault: why jobs cannot be had just now; None where they can.
    """

    def __init__(
        self,
        store: JobStore,
        files: JobFiles,
        runner: JobRunner,
        leases: JobLeases,
        results: JobResults,
        keep_s: float,
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        """Args:
        keep_s: how long a finished job is kept.
        delete: deletes a job.
        """
        self._store, self._files, self._runner = store, files, runner
        self._leases, self._results = leases, results
        self._keep_s, self._delete = keep_s, delete
        self.fault: str | None = None

    async def forget(self, job_id: str) -> None:
        """Remove the row of a job whose files are deleted."""
        try:
            await asyncio.to_thread(self._store.remove, job_id)
        except OSError as error:  # it is gone for clients, though still in the database; the sweep tries again
            log.error("The row of a deleted job cannot be removed (%s)", error, extra={"job": job_id})
        else:
            self._runner.dropped.discard(job_id)

    async def sweep(self) -> None:
        """Delete what has expired, until cancelled."""
        then = time.monotonic()
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._keep_s / 4))
            now = time.monotonic()
            try:  # free disk space first, then write
                for job_id in tuple(self._runner.dropped):
                    await self.forget(job_id)
                for job_id in await asyncio.to_thread(self._store.expired, now - then, self._keep_s):
                    await self._delete(job_id)
                await asyncio.to_thread(self._store.age, now - then)
                then = now
                await self._give_up_copies()
                await asyncio.to_thread(self._files.sweep, self._store.ids)
            except UnavailableError as error:
                log.warning("Jobs that have expired cannot be deleted (%s); trying again", error)
            except Exception:
                log.exception("Jobs that have expired cannot be deleted; trying again")

    async def _give_up_copies(self) -> None:
        """Of files that are in the store."""
        for job_id in await asyncio.to_thread(self._files.unused):
            if job_id in self._runner.runs():
                continue
            async with self._results.idle(job_id):
                await asyncio.to_thread(self._files.give_up, job_id)
            if job := await asyncio.to_thread(self._store.get, job_id):
                self._leases.has(job_id, await asyncio.to_thread(self._files.disk_bytes, job_id, job.stored_bytes))

    async def watch(self) -> None:
        """Look whether the jobs and their files can be had, until cancelled."""
        while True:
            fault = await asyncio.to_thread(self._store.fault) or await asyncio.to_thread(self._files.fault)
            if fault != self.fault:
                log.log(logging.ERROR if fault else logging.INFO, "%s", fault or "Jobs can be read again.")
                self.fault = fault
            await asyncio.sleep(_WATCH_S)
