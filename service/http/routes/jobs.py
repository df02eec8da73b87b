"""/jobs: recordings that take longer than a client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import FileResponse

from unmingle.service.http import examples, uploads
from unmingle.service.http.answers import PackageResponse, accepted_types
from unmingle.service.http.auth import Caller
from unmingle.service.http.documentation import (
    ANSWERS,
    EVENTS,
    JOB_LINKS,
    PART_OF_ANSWER,
    UPLOAD,
    body,
    problem_responses,
)
from unmingle.service.http.receiving import receive
from unmingle.service.http.state import Service, ServiceState
from unmingle.service.jobs.store import UNFINISHED
from unmingle.service.output import encoding
from unmingle.service.output.package import Delivery, negotiate
from unmingle.service.problems import Problem
from unmingle.service.schemas import JobStatus, Manifest, ResultParameters, SeparateParameters

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="As POST /jobs gave it.")]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="The same key and request, the same job.")
]

_LOOK_S = 0.25
_HEARTBEAT_S = 15.0


@router.post(
    "",
    status_code=202,
    response_model=JobStatus,
    openapi_extra=UPLOAD,
    responses={
        200: body(examples.DONE, "A job with this Idempotency-Key was accepted before.", model=JobStatus, **JOB_LINKS),
        202: body(examples.QUEUED, "Accepted.", **JOB_LINKS),
        **problem_responses(400, 401, 408, 413, 415, 422, 429, 500, 503, 507),
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
    await service.check_takes_work()
    most = service.settings.job_max_upload_bytes
    async with AsyncExitStack() as answer:
        announced = min(uploads.announced_bytes(request), most)
        arrival = await answer.enter_async_context(service.jobs.hold(caller, announced, idempotency_key))
        async with receive(request, query, service, caller, most, answer) as received:
            encoding.check(received.parameters.format, received.parameters.subtype)
            job, new = await service.jobs.add(received.upload, received.parameters, caller, idempotency_key, arrival)
    status = await service.jobs.status(job)
    return JSONResponse(
        status.model_dump(mode="json"),
        202 if new else 200,
        {"Location": f"/jobs/{job.id}"},
    )


@router.get(
    "/{job_id}",
    operation_id="job_state",
    responses={200: body(examples.DONE, "The job.", **JOB_LINKS), **problem_responses(401, 404, 422, 429)},
)
async def state(job_id: JobId, service: Service, caller: Caller) -> JobStatus:
    """State, position in the queue, progress and time left."""
    return await service.jobs.status(await service.jobs.get(job_id, caller))


@router.get(
    "/{job_id}/events",
    operation_id="job_events",
    response_class=StreamingResponse,
    responses={
        200: EVENTS,
        **problem_responses(401, 404, 422, 429),
    },
)
async def events(job_id: JobId, service: Service, caller: Caller) -> Response:
    """The job's state whenever it changes, as server-sent events named `status`; the last one is final."""
    await service.jobs.get(job_id, caller)
    return StreamingResponse(_events(service, job_id, caller), 200, {"Cache-Control": "no-store"}, "text/event-stream")


async def _events(service: ServiceState, job_id: str, caller: str) -> AsyncIterator[str]:
    last, spoken = None, time.monotonic()
    while service.condition in ("starting", "ok"):
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


@router.get(
    "/{job_id}/manifest",
    operation_id="job_manifest",
    responses={
        200: body(examples.MANIFEST_ALONE, "What was done."),
        **problem_responses(401, 404, 409, 422, 429),
    },
)
async def manifest(job_id: JobId, service: Service, caller: Caller) -> Manifest:
    """What was done and who is heard when, without the stems."""
    return await service.jobs.results.manifest(await service.jobs.get(job_id, caller))


@router.get(
    "/{job_id}/result",
    operation_id="job_result",
    response_class=FileResponse,
    responses={
        200: ANSWERS,
        206: PART_OF_ANSWER,
        **problem_responses(401, 404, 406, 409, 413, 416, 422, 429, 500, 507),
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
    job = await service.jobs.get(job_id, caller)
    delivery = _delivery(accepted_types(request), query, SeparateParameters.model_validate_json(job.parameters))
    async with AsyncExitStack() as answer:
        directory = await answer.enter_async_context(service.scratch())
        package = await service.jobs.results.package(job, delivery, directory / "package")
        return PackageResponse(package, answer.pop_all())


def _delivery(accept: str | None, asked: ResultParameters, at_first: SeparateParameters) -> Delivery:
    """What a request for a result asks for; what it leaves open is as it was asked for with the job."""
    given = asked.model_dump(exclude_unset=True)
    kind = negotiate(accept, asked.stem or at_first.stem)
    if not given.keys() & {"format", "subtype"} and (kind != "audio/wav" or at_first.format == "wav"):
        given |= {"format": at_first.format, "subtype": at_first.subtype}
    if kind == "audio/wav":
        given = {"stem": at_first.stem, **given}
    return Delivery.of(kind, ResultParameters.model_validate(given))


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 404, 422, 429),
)
async def delete(job_id: JobId, service: Service, caller: Caller) -> Response:
    """End a job, whatever its state, and free its disk space."""
    await service.jobs.get(job_id, caller)
    await service.jobs.delete(job_id)
    return Response(status_code=204)
