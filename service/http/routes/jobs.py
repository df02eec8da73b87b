"""/jobs: recordings that take longer than a client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from unmingle.service.http import examples, uploads
from unmingle.service.http.answers import PackageResponse, accepted_types
from unmingle.service.http.auth import Caller
from unmingle.service.http.disconnect import unless_disconnected
from unmingle.service.http.documentation import (
    ANSWERS,
    EVENTS,
    JOB_LINKS,
    NOT_MODIFIED,
    PART_OF_ANSWER,
    UPLOAD,
    body,
    problem_responses,
)
from unmingle.service.http.receiving import receive
from unmingle.service.http.state import Service, ServiceState
from unmingle.service.jobs.job import UNFINISHED, Job
from unmingle.service.output import encoding
from unmingle.service.output.package import Delivery, negotiate
from unmingle.service.problems import Problem, UnavailableError
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import JobStatus, Manifest, ResultParameters, SeparateParameters

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="As POST /jobs gave it.")]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="The same key and request, the same job.")
]

_LOOK_S = 0.25
_HEARTBEAT_S = 15.0
_AWAY_S = 1.0


@router.post(
    "",
    status_code=202,
    response_model=JobStatus,
    openapi_extra=UPLOAD,
    responses={
        200: body(examples.DONE, "A job with this Idempotency-Key was accepted before.", model=JobStatus, **JOB_LINKS),
        202: body(examples.QUEUED, "Accepted.", **JOB_LINKS),
        **problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 507),
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
    limits = service.job_upload_limits
    await uploads.check_head(request, limits.max_bytes)
    async with AsyncExitStack() as held:
        lease = held.enter_context(service.ledger.lease(caller))
        announced = uploads.announced_bytes(request)
        lease.take(Resource.JOB_UPLOADS)
        space = Resource.JOB_BYTES
        if await service.jobs.earlier(caller, idempotency_key):
            space = Resource.SPOOL_BYTES  # it needs no slot among jobs; its upload is compared and discarded
        else:
            lease.take(Resource.JOBS)
        lease.take(space, announced)
        await service.check_takes_jobs()
        lease.transfer = limits.transfer(announced)
        directory = await held.enter_async_context(service.scratch())
        received = await receive(request, query, service, limits, lease, space, directory)
        encoding.check(received.parameters.format, received.parameters.subtype)
        lease.transfer = None
        lease.drop(Resource.JOB_UPLOADS)
        job, new = await service.jobs.add(
            received.upload.path, received.upload.sha256, received.parameters, idempotency_key, lease
        )
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
        **problem_responses(401, 404, 422, 429, 503),
    },
)
async def events(request: Request, job_id: JobId, service: Service, caller: Caller) -> Response:
    """The job's state whenever it changes, as server-sent events named `status`; the last one is final."""
    job = await service.jobs.get(job_id, caller)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # so that proxies pass on each event at once
    if request.scope["state"].get("head"):
        return Response(None, 200, headers, "text/event-stream")
    held = ExitStack()
    lease = held.enter_context(service.ledger.lease(caller))
    try:
        lease.take(Resource.STREAMS)
    except Problem:
        held.close()
        raise
    return EventStream(_events(service, job), headers, held)


class EventStream(StreamingResponse):
    """Server-sent events; `held` is closed when they end."""

    def __init__(self, events: AsyncIterator[str], headers: dict[str, str], held: ExitStack) -> None:
        super().__init__(events, 200, headers, "text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them until the last, or until the client leaves."""
        with self._held:
            await super().__call__(scope, receive, send)


async def _events(service: ServiceState, job: Job) -> AsyncIterator[str]:
    """The store is read only when something has changed; progress is known without it."""
    jobs = service.jobs
    last, spoken, seen = None, time.monotonic(), -1
    ahead: list[Job] = []
    while service.condition in ("starting", "ok"):
        if seen != jobs.changes.count:
            try:
                now = jobs.changes.count
                job = await jobs.get(job.id, job.owner)
                ahead = await jobs.ahead(job)
                seen = now
            except Problem:
                yield "event: deleted\ndata: {}\n\n"
                return
            except UnavailableError:  # the database is away for a while: the stream goes on when it is back
                await asyncio.sleep(_AWAY_S)
        status = jobs.status_among(job, ahead)
        if status != last:
            yield f"event: status\ndata: {status.model_dump_json()}\n\n"
            last, spoken = status, time.monotonic()
        elif time.monotonic() - spoken > _HEARTBEAT_S:
            yield ": still here\n\n"
            spoken = time.monotonic()
        if status.state not in UNFINISHED:
            return
        if seen == jobs.changes.count:
            await jobs.changes.wait(_LOOK_S)


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
        304: NOT_MODIFIED,
        **problem_responses(401, 404, 406, 409, 413, 416, 422, 429, 500, 503, 507),
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
    async with AsyncExitStack() as held:
        lease = held.enter_context(service.ledger.lease(caller))
        held.enter_context(service.jobs.leases.download(job.id, lease))
        directory = await held.enter_async_context(service.scratch())
        package = await unless_disconnected(request, service.jobs.results.package(job, delivery, directory))
        return PackageResponse(package, lease, held.pop_all())


def _delivery(accept: str | None, asked: ResultParameters, at_first: SeparateParameters) -> Delivery:
    """What a request for a result asks for; by default, what the job's request asked for."""
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
    responses=problem_responses(401, 403, 404, 422, 429),
)
async def delete(job_id: JobId, service: Service, caller: Caller) -> Response:
    """End a job, whatever its state, and free its disk space."""
    await service.jobs.get(job_id, caller)
    await service.jobs.delete(job_id)
    return Response(status_code=204)
