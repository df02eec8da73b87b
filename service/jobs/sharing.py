"""What the servers that share jobs tell each other, through the database, about once a second."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from unmingle.service.jobs.changes import Changes
from unmingle.service.jobs.files import JobFiles
from unmingle.service.jobs.job import Standing
from unmingle.service.jobs.leases import JobLeases
from unmingle.service.jobs.results import JobResults
from unmingle.service.jobs.runner import JobRunner
from unmingle.service.jobs.store import JobStore

BEAT_S = 1.0

log = logging.getLogger(__name__)


class Sharing:
    """Keeps this server's leases, and follows what the other servers do. Belongs to one event loop."""

    def __init__(
        self,
        store: JobStore,
        files: JobFiles,
        runner: JobRunner,
        leases: JobLeases,
        results: JobResults,
        changes: Changes,
    ) -> None:
        self._store, self._files, self._runner = store, files, runner
        self._leases, self._results, self._changes = leases, results, changes
        self._known: dict[str, Standing] = {}

    async def run(self) -> None:
        """Until cancelled."""
        # On a thread of its own: signs of life must not wait for threads that move files.
        with ThreadPoolExecutor(1, "beat") as thread:
            while True:
                try:
                    await self._beat(thread)
                except OSError as error:
                    log.warning("no sign of life could be given (%s); trying again", error)
                except Exception:
                    log.exception("no sign of life could be given; trying again")
                await asyncio.sleep(BEAT_S)

    async def _beat(self, thread: ThreadPoolExecutor) -> None:
        if not self._runner.recovered:
            return
        runs = self._runner.runs()
        found = await asyncio.get_running_loop().run_in_executor(thread, self._store.members.beat, runs)
        known, self._known = self._known, {standing.id: standing for standing in found}
        for job_id, (run, _) in runs.items():
            if job_id not in self._known or self._known[job_id].run != run:
                self._runner.lose(job_id)
        new = [standing for standing in found if standing != known.get(standing.id)]
        for standing in new:
            await self._follow(standing)
        for job_id in known.keys() - self._known.keys():
            await self._forget(job_id)
        if new or len(known) != len(self._known):
            self._changes.tell()
        if any(standing.state == "queued" or self._runs_elsewhere(standing) for standing in found):
            self._runner.wake()  # it may be left by a server that has died: the database knows

    def _runs_elsewhere(self, standing: Standing) -> bool:
        return standing.state == "running" and standing.server != self._store.server

    async def _follow(self, standing: Standing) -> None:
        """Hold in the ledger what the job holds, whichever server has it: limits are those of all servers together."""
        if standing.id in self._runner.runs():
            return
        used = await asyncio.to_thread(self._files.disk_bytes, standing.id, standing.stored_bytes)
        self._leases.restore(standing, used)

    async def _forget(self, job_id: str) -> None:
        """A job is deleted."""
        self._results.forget(job_id)
        await asyncio.to_thread(self._files.forget, job_id)
        self._leases.deleted(job_id)
