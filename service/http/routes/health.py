"""The server's state: /health in detail, /livez and /readyz for orchestrators, /metrics, /models."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from unmingle.model.options import MAX_SOURCES
from unmingle.service.decoding import audio_header
from unmingle.service.http import examples
from unmingle.service.http.documentation import body, problem_responses, text
from unmingle.service.http.state import Service
from unmingle.service.problems import Problem
from unmingle.service.schemas import Health, ModelDetail, ModelList, QueueState
from unmingle.service.version import version

router = APIRouter(tags=["state"])


@router.get(
    "/health",
    responses={
        200: body(examples.HEALTH, "Work is taken."),
        503: body(examples.STARTING, "Not ready: starting, draining or failed.", model=Health),
    },
)
async def health(service: Service, response: Response) -> Health:
    """200 only when a worker has the model and has run it once, and work is taken."""
    engine = service.engine
    state = service.condition
    if state == "ok" and service.jobs.fault:
        state = "starting" if service.jobs.recovering else "failed"
    if state != "ok":
        response.status_code = 503
        response.headers.update(service.retry_after())
    return Health(
        status=state,
        model=service.pipeline.model,
        provider=service.facts.provider,
        fallback=service.facts.fallback,
        version=version(),
        uptime_s=round(time.monotonic() - service.started, 3),
        queue=QueueState(
            waiting=engine.waiting("requests"),
            running=engine.running("requests"),
            audio_seconds=round(engine.audio_seconds("requests"), 3),
        ),
        jobs=service.jobs.fault,
    )


@router.get("/livez", response_class=PlainTextResponse, responses={200: text("ok\n", "The process answers.")})
async def livez() -> str:
    """200 while the process answers at all; restart it when it does not."""
    return "ok\n"


@router.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={200: text("ok\n", "Work is taken."), **problem_responses(503)},
)
def readyz(service: Service) -> str:
    """200 while work is taken; send no requests when it is not."""
    try:
        service.check_ready()
        if service.jobs.fault:
            raise Problem("not_ready", service.jobs.fault, headers=service.retry_after())
        if crowded := service.ledger.crowded:
            raise Problem("not_ready", f"There is no room for more {crowded.what}.", headers=service.retry_after())
    except Problem as problem:
        raise Problem("not_ready", problem.detail, extra=problem.extra, headers=problem.headers) from problem
    return "ok\n"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: text('# TYPE unmingle_ready gauge\nunmingle_ready{engine="requests"} 1.0\n', "Prometheus' text.")},
)
def metrics(service: Service) -> Response:
    """Counters and gauges for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/models", responses={200: body(examples.MODELS, "All of them.")})
async def models(service: Service) -> ModelList:
    """The models that this server has, and what they take."""
    config = service.facts.config
    entry = service.pipeline.model
    return ModelList(
        models=[
            ModelDetail(
                name=entry.name,
                hash=entry.hash,
                sample_rate=config.sample_rate,
                max_sources=MAX_SOURCES,
                max_channels=audio_header.MAX_CHANNELS,
                qualities=list(service.pipeline.abilities.qualities),
                default=True,
            )
        ]
    )
