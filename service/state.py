"""What the handlers share: one per server, made by service.app."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request

from model.embedder import Embedder, OnnxEmbedder
from service.decoder import DecodeLimits
from service.engine import Engine
from service.jobs import Jobs
from service.metrics import Metrics
from service.separation import Pipeline
from service.settings import Settings

ADVICE = "Send it to /jobs instead, or cut it into parts."


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """Attributes:
    settings: of this deployment.
    pipeline: separates for those who wait.
    embedder: the model in use.
    jobs: for later.
    metrics: what the server counts.
    spool: directory of requests in flight.
    started: time.monotonic() when the server was made.
    """

    settings: Settings
    pipeline: Pipeline
    embedder: Embedder
    jobs: Jobs
    metrics: Metrics
    spool: Path
    started: float

    @property
    def engine(self) -> Engine:
        """The pipeline's."""
        return self.pipeline.engine

    @property
    def provider(self) -> str:
        """Execution provider that the session uses."""
        return self.embedder.provider if isinstance(self.embedder, OnnxEmbedder) else "none"

    @property
    def fallback(self) -> str | None:
        """Why the network runs on the CPU although device=auto would have taken a GPU."""
        return self.embedder.fallback if isinstance(self.embedder, OnnxEmbedder) else None

    @property
    def decode_limits(self) -> DecodeLimits:
        """Of an upload to /separate."""
        s = self.settings
        return DecodeLimits(s.max_seconds, s.max_decoded_bytes, s.decode_memory_bytes, s.decode_timeout_s, ADVICE)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A directory of one's own under the spool, gone afterwards."""
        directory = Path(tempfile.mkdtemp(dir=self.spool))
        try:
            yield directory
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, True))


def _service(request: Request) -> ServiceState:
    return cast(ServiceState, request.app.state.service)


Service = Annotated[ServiceState, Depends(_service)]
