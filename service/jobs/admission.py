"""Which jobs are taken: so many at a time, so many of one key, and as long as there is disk space for them."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from unmingle.service.decoding.decoder import DecodeLimits
from unmingle.service.jobs import directories
from unmingle.service.jobs.store import Job, JobStore
from unmingle.service.problems import Problem

_UNKNOWN_S = 60.0
"""How long a job is taken to last while the length of its recording is not known."""


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


@dataclasses.dataclass(eq=False)
class Arrival:
    """A job whose upload is on its way: it has a slot, and room on the disk.

    Attributes:
        owner: name of the API key that it came with.
        upload_bytes: what it is known to take.
    """

    owner: str
    upload_bytes: int


class JobAdmission:
    """Holds slots for jobs from before their upload until they have a row. Belongs to one event loop."""

    def __init__(
        self,
        store: JobStore,
        directory: Path,
        limits: JobLimits,
        expected_s: Callable[[Sequence[Job]], float | None],
    ) -> None:
        """Take `expected_s`, which tells how long jobs take together; None where that is not known."""
        self._store, self._directory, self._limits = store, directory, limits
        self._expected_s = expected_s
        self._arriving: list[Arrival] = []
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, owner: str, upload_bytes: int) -> AsyncIterator[Arrival]:
        """Hold a slot for one job.

        Raises:
            Problem: too many jobs, or no disk space for it; with Retry-After.
        """
        arrival = Arrival(owner, upload_bytes)
        async with self._one_at_a_time:
            # Counted before the rows are read: one that gets its row meanwhile is counted twice rather than never.
            arriving = tuple(self._arriving)
            unfinished = await asyncio.to_thread(self._store.unfinished)
            retry = self._retry_after(unfinished)
            self._check_number(owner, unfinished, arriving, retry)
            await self._check_disk(upload_bytes, arriving, retry)
            self._arriving.append(arrival)
        try:
            yield arrival
        finally:
            self._arriving.remove(arrival)

    async def measured(self, arrival: Arrival, upload_bytes: int) -> None:
        """Its upload is there, and turned out to have this size.

        Raises:
            Problem: no disk space for what was not announced; with Retry-After.
        """
        if upload_bytes > arrival.upload_bytes:
            async with self._one_at_a_time:
                others = [other for other in self._arriving if other is not arrival]
                retry = self._retry_after(await asyncio.to_thread(self._store.unfinished))
                await self._check_disk(upload_bytes, others, retry)
                arrival.upload_bytes = upload_bytes

    def _retry_after(self, unfinished: Sequence[Job]) -> dict[str, str]:
        """Until the first of them is done."""
        return {"Retry-After": str(max(1, math.ceil(self._expected_s(unfinished[:1]) or _UNKNOWN_S)))}

    def _check_number(
        self, owner: str, unfinished: Sequence[Job], arriving: Sequence[Arrival], retry: dict[str, str]
    ) -> None:
        count, most = len(unfinished) + len(arriving), self._limits.max_unfinished
        if count >= most:
            raise Problem(
                "server_full",
                f"{count} jobs wait or run; expected fewer than {most}. Try again in {retry['Retry-After']} s.",
                extra={"limit": most, "unit": "jobs"},
                headers=retry,
            )
        most = self._limits.max_per_owner
        owners = [*(job.owner for job in unfinished), *(arrival.owner for arrival in arriving)]
        if owner and owners.count(owner) >= most:
            raise Problem(
                "key_busy",
                f"{most} jobs of this API key wait or run; expected no more at a time.",
                extra={"limit": most, "unit": "jobs"},
                headers=retry,
            )

    async def _check_disk(self, upload_bytes: int, arriving: Sequence[Arrival], retry: dict[str, str]) -> None:
        most = self._limits.max_disk_bytes
        used = await asyncio.to_thread(directories.disk_use, self._directory)
        used += sum(other.upload_bytes for other in arriving)
        if used + upload_bytes > most:
            raise Problem(
                "disk_full",
                f"Jobs take {used} of {most} bytes already; delete some that are done.",
                extra={"limit": most, "unit": "bytes"},
                headers=retry,
            )
