"""POST /separate: a recording in, its stems out, in one request."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import FileResponse

from unmingle.service.http import examples, uploads
from unmingle.service.http.answers import PackageResponse, accepted_types
from unmingle.service.http.auth import Caller
from unmingle.service.http.disconnect import unless_disconnected
from unmingle.service.http.documentation import ANSWERS, JOB_LINKS, UPLOAD, body, problem_responses
from unmingle.service.http.receiving import Received, receive
from unmingle.service.http.routes import jobs
from unmingle.service.http.state import Service, ServiceState
from unmingle.service.output.package import Delivery, Package, negotiate
from unmingle.service.output.stems import StemSet
from unmingle.service.pipeline import Decoded
from unmingle.service.scheduling.capacity import Lease
from unmingle.service.scheduling.engine import Control
from unmingle.service.scheduling.limits import Resource
from unmingle.service.scheduling.work import Task
from unmingle.service.schemas import JobStatus, SeparateParameters
from unmingle.service.workers.tasks import SeparateAndPack

router = APIRouter(tags=["separate"])


@router.post(
    "/separate",
    response_class=FileResponse,
    openapi_extra=UPLOAD,
    responses={
        200: ANSWERS,
        202: body(examples.QUEUED, "With Prefer: respond-async, the job that it became.", model=JobStatus, **JOB_LINKS),
        **problem_responses(400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503, 507),
    },
)
async def separate(
    request: Request,
    query: Annotated[SeparateParameters, Query()],
    service: Service,
    caller: Caller,
    prefer: Annotated[str | None, Header(description="respond-async makes it a job.")] = None,
    idempotency_key: jobs.IdempotencyKey = None,
) -> Response:
    """Separate a recording and wait for the stems; they come loudest first, with a manifest."""
    if _prefers_a_job(request):
        accepted = await jobs.accept(request, query, service, caller, idempotency_key)
        accepted.headers["Preference-Applied"] = "respond-async"
        return accepted
    kind = negotiate(accepted_types(request), query.stem)
    limits = service.upload_limits
    await uploads.check_head(request, limits.max_bytes)
    async with AsyncExitStack() as held:
        lease = held.enter_context(service.ledger.lease(caller))
        announced = uploads.announced_bytes(request)
        # Before anything that takes a thread: refusals must be cheap.
        lease.take(Resource.RECORDINGS)
        lease.take(Resource.REQUESTS)
        service.ledger.check(lease, Resource.ANSWERS, 1)
        lease.take(Resource.UPLOADS)
        lease.take(Resource.SPOOL_BYTES, announced)
        await service.check_takes_work()
        lease.transfer = limits.transfer(announced)
        directory = await held.enter_async_context(service.scratch())
        received = await receive(request, query, service, limits, lease, Resource.SPOOL_BYTES, directory)
        lease.uploaded()
        package = await _work(request, service, received, Delivery.of(kind, received.parameters), lease)
        lease.answered = True
        lease.stems_are_there()
        lease.put(Resource.ANSWERS)
        return PackageResponse(package, lease, held.pop_all())


async def _work(
    request: Request, service: ServiceState, received: Received, delivery: Delivery, lease: Lease
) -> Package:
    settings, control = service.settings, Control()
    upload_bytes = lease.held[Resource.SPOOL_BYTES]

    async def decoded(recording: Decoded) -> None:
        service.ledger.check_in_time(recording.seconds, recording.left_s, settings.request_timeout_s)
        lease.take(Resource.AUDIO_SECONDS, recording.seconds)
        lease.take(Resource.AUDIO_BYTES, recording.audio_bytes)
        extra = 0 if delivery.is_as_it_is else recording.stem_bytes
        lease.take(Resource.SPOOL_BYTES, upload_bytes + recording.audio_bytes + recording.stem_bytes + extra)

    def packed(separate: Task[StemSet]) -> SeparateAndPack:
        return SeparateAndPack(separate, delivery, received.directory / "package", settings.max_json_bytes)

    try:
        return await unless_disconnected(
            request,
            service.pipeline.separate(
                received.upload.path,
                received.directory,
                received.parameters,
                service.decode_limits,
                packed,
                decoded,
                timeout_s=settings.request_timeout_s,
                control=control,
            ),
        )
    except TimeoutError as error:
        raise service.ledger.late(settings.request_timeout_s) from error


def _prefers_a_job(request: Request) -> bool:
    """Whether a Prefer header (RFC 7240) says respond-async."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)
