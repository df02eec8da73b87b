"""/jobs: recordings that take longer than a client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import FileResponse

from service import upload
from service.auth import Caller
from service.job_store import UNFINISHED
from service.package import Delivery, negotiate
from service.problems import Problem
from service.routes.documentation import ANSWERS, UPLOAD, problem_responses
from service.routes.parameters import with_fields
from service.routes.sending import send
from service.schemas import JobStatus, Manifest, ResultParameters, SeparateParameters
from service.state import Service, ServiceState

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=64)]
IdempotencyKey = Annotated[str | None, Header(max_length=255, description="The same key and request, the same job.")]

_LOOK_S = 0.25
_HEARTBEAT_S = 15.0


@router.post(
    "",
    status_code=202,
    response_model=JobStatus,
    openapi_extra=UPLOAD,
    responses={
        200: {"model": JobStatus, "description": "A job with this Idempotency-Key was accepted before."},
        **problem_responses(400, 401, 413, 415, 422, 429, 500, 503, 507),
    },
)
async def create(
    request: Request,
    query: Annotated[SeparateParameters, Query()],
    service: Service,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept a recording for later: an accepted job is done even if the server is killed meanwhile."""
    return await accept(request, query, service, caller, idempotency_key)


async def accept(
    request: Request, query: SeparateParameters, service: ServiceState, caller: str, idempotency_key: str | None
) -> Response:
    """Read the upload and keep it as a job."""
    if service.engine.state in ("draining", "stopped", "failed"):
        raise Problem("not_ready", f"The server is {service.engine.state}.", headers={"Retry-After": "5"})
    if idempotency_key is None:
        await service.jobs.admit(caller)
    async with service.scratch() as directory:
        received = await upload.receive(request, directory / "upload", service.settings.job_max_upload_bytes)
        parameters = with_fields(query, received.fields, service.pipeline.model)
        job, new = await service.jobs.add(received.path, parameters, caller, idempotency_key)
    status = await service.jobs.status(job)
    return JSONResponse(
        status.model_dump(mode="json"),
        202 if new else 200,
        {"Location": f"/jobs/{job.id}"},
    )


@router.get("/{job_id}", responses=problem_responses(401, 404, 429))
async def state(job_id: JobId, service: Service, caller: Caller) -> JobStatus:
    """State, position in the queue, progress and time left."""
    return await service.jobs.status(await service.jobs.get(job_id, caller))


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Until it is finished."},
        **problem_responses(401, 404, 429),
    },
)
async def events(job_id: JobId, service: Service, caller: Caller) -> Response:
    """The job's state whenever it changes, as server-sent events named `status`; the last one is final."""
    await service.jobs.get(job_id, caller)
    return StreamingResponse(_events(service, job_id, caller), 200, {"Cache-Control": "no-store"}, "text/event-stream")


async def _events(service: ServiceState, job_id: str, caller: str) -> AsyncIterator[str]:
    last, spoken = None, time.monotonic()
    while service.engine.state in ("starting", "ok"):
        try:
            status = await service.jobs.status(await service.jobs.get(job_id, caller))
        except Problem:
            yield "event: deleted\ndata: {}\n\n"
            return
        if status != last:
            yield f"event: status\ndata: {status.model_dump_json()}\n\n"
            last, spoken = status, time.monotonic()
        elif time.monotonic() - spoken > _HEARTBEAT_S:
            yield ": still here\n\n"
            spoken = time.monotonic()
        if status.state not in UNFINISHED:
            return
        await asyncio.sleep(_LOOK_S)


@router.get("/{job_id}/manifest", responses=problem_responses(401, 404, 409, 429))
async def manifest(job_id: JobId, service: Service, caller: Caller) -> Manifest:
    """What was done and who is heard when, without the stems."""
    return await service.jobs.manifest(await service.jobs.get(job_id, caller))


@router.get(
    "/{job_id}/result",
    response_class=FileResponse,
    responses={
        200: ANSWERS,
        206: {"description": "The part that Range asks for.", "content": ANSWERS["content"]},
        416: {"description": "Range asks for what is not there.", "content": {"text/plain": {}}},
        **problem_responses(401, 404, 406, 409, 413, 422, 429, 500, 507),
    },
)
async def result(
    request: Request,
    job_id: JobId,
    query: Annotated[ResultParameters, Query()],
    service: Service,
    caller: Caller,
) -> Response:
    """The stems, in the type that Accept asks for; Range requests work."""
    delivery = Delivery.of(negotiate(request.headers.get("accept"), query.stem), query)
    job = await service.jobs.get(job_id, caller)
    return send(await service.jobs.result(job, delivery))


@router.delete("/{job_id}", status_code=204, response_class=Response, responses=problem_responses(401, 404, 429))
async def delete(job_id: JobId, service: Service, caller: Caller) -> Response:
    """End a job, whatever its state, and free its disk space."""
    await service.jobs.get(job_id, caller)
    await service.jobs.delete(job_id)
    return Response(status_code=204)
