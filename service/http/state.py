"""What the handlers share: one per server, made by unmingle.service.app."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal, cast

from fastapi import Depends, Request

from unmingle.service.decoding.decoder import DecodeLimits
from unmingle.service.http.metrics import Metrics
from unmingle.service.http.uploads import UploadLimits
from unmingle.service.jobs.jobs import Jobs
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.recordings.recordings import Recordings
from unmingle.service.scheduling.capacity import Ledger
from unmingle.service.scheduling.engine import Engine
from unmingle.service.settings import Settings
from unmingle.service.workers.messages import ModelFacts

START_S = 5.0
"""How long a server takes to start, about."""

MIN_FREE_BYTES = 16 * 2**20
"""Disk space reserved for work that was already accepted, and for SQLite."""

ADVICE = "Send it to /jobs instead, or cut it into parts."


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """Attributes:
    settings: of this deployment.
    pipeline: separates for those who wait.
    facts: of the model in use.
    jobs: for later.
    recordings: kept, to be separated again.
    ledger: who holds how much of what.
    metrics: what the server counts.
    spool: directory of requests in flight.
    started: time.monotonic() when the server was made.
    """

    settings: Settings
    pipeline: Pipeline
    facts: ModelFacts
    jobs: Jobs
    recordings: Recordings
    ledger: Ledger
    metrics: Metrics
    spool: Path
    started: float

    @property
    def engine(self) -> Engine:
        """The pipeline's."""
        return self.pipeline.engine

    @property
    def condition(self) -> Literal["starting", "ok", "draining", "failed"]:
        """The engine's state, and draining from the moment on that no new work is taken."""
        state = self.engine.state
        return "draining" if state == "stopped" or (state != "failed" and self.ledger.closed) else state

    @property
    def decode_limits(self) -> DecodeLimits:
        """Of an upload to /separate."""
        s = self.settings
        return DecodeLimits(s.max_seconds, s.max_decoded_bytes, s.decode_memory_bytes, s.decode_timeout_s, ADVICE)

    @property
    def upload_limits(self) -> UploadLimits:
        """Of an upload to /separate."""
        s = self.settings
        return UploadLimits(s.max_upload_bytes, s.client_timeout_s, s.client_min_bytes_per_s)

    @property
    def job_upload_limits(self) -> UploadLimits:
        """Of an upload to /jobs."""
        return dataclasses.replace(self.upload_limits, max_bytes=self.settings.job_max_upload_bytes)

    def retry_after(self) -> dict[str, str]:
        """Retry-After of a server that takes no work: until it, or its successor, will."""
        if self.condition == "starting":  # assume that it takes as long again as it has taken so far
            wait = time.monotonic() - self.engine.unready_since
        else:
            wait = self.engine.audio_seconds("requests") * self.engine.real_time_factor + START_S
        return {"Retry-After": str(max(1, math.ceil(wait)))}

    def check_ready(self) -> None:
        """Check whether work can be taken and begun. Blocking.

        Raises:
            Problem: the engine takes none, or there is no disk space for any; with Retry-After.
        """
        if self.condition != "ok":
            raise self._not_ready()
        self._check_disk()

    def _not_ready(self) -> Problem:
        return Problem("not_ready", f"The server is {self.condition}. Try again later.", headers=self.retry_after())

    def _check_disk(self) -> None:
        if shutil.disk_usage(self.settings.data_dir).free < MIN_FREE_BYTES:
            raise Problem(
                "disk_full",
                "The server's disk is full. Delete jobs that are done, or try again later.",
                extra={"limit": MIN_FREE_BYTES, "unit": "bytes free"},
                headers=self.retry_after(),
            )

    async def check_takes_jobs(self) -> None:
        """`check_takes_work`, and whether jobs can be stored.

        Raises:
            Problem: they cannot; with Retry-After.
        """
        if self.jobs.fault:
            raise Problem("not_ready", f"Jobs are not accepted now. {self.jobs.fault}", headers=self.retry_after())
        await self.check_takes_work()

    async def check_takes_work(self) -> None:
        """Check whether work can be taken: as `check_ready`, but work may wait while a lost worker is replaced.

        Raises:
            Problem: it cannot; with Retry-After.
        """
        if self.condition not in ("ok", "starting") or not self.engine.takes_work:
            raise self._not_ready()
        await asyncio.to_thread(self._check_disk)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A new directory in the spool, deleted afterwards."""
        directory = Path(tempfile.mkdtemp(dir=self.spool))
        try:
            yield directory
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, True))


async def _service(request: Request) -> ServiceState:
    # A coroutine although it never waits: FastAPI would use a thread for a plain function, at every request.
    return cast(ServiceState, request.app.state.service)


Service = Annotated[ServiceState, Depends(_service)]
