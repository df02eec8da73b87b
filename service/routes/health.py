"""GET /health: the server's state in detail."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response

from service.schemas import Health, QueueState
from service.state import Service
from service.version import version

router = APIRouter(tags=["state"])


@router.get("/health", responses={503: {"model": Health, "description": "Not ready: starting, draining or failed."}})
async def health(service: Service, response: Response) -> Health:
    """200 only when the model is loaded, has run once, and the engine takes work."""
    engine = service.engine
    state = engine.state
    if state != "ok":
        response.status_code = 503
    return Health(
        status="draining" if state == "stopped" else state,
        model=service.pipeline.model,
        provider=service.provider,
        version=version(),
        uptime_s=round(time.monotonic() - service.started, 3),
        queue=QueueState(waiting=engine.waiting, running=engine.running, audio_seconds=round(engine.audio_seconds, 3)),
    )
