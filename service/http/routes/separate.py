"""POST /separate: a recording in, its stems out, in one request."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import FileResponse

from unmingle.service.http import examples
from unmingle.service.http.answers import PackageResponse, accepted_types
from unmingle.service.http.auth import Caller
from unmingle.service.http.disconnect import unless_disconnected
from unmingle.service.http.documentation import ANSWERS, JOB_LINKS, UPLOAD, body, problem_responses
from unmingle.service.http.receiving import receive
from unmingle.service.http.routes import jobs
from unmingle.service.http.state import Service
from unmingle.service.output.package import Delivery, Package, negotiate, pack
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.engine import Control
from unmingle.service.schemas import JobStatus, SeparateParameters

router = APIRouter(tags=["separate"])


@router.post(
    "/separate",
    response_class=FileResponse,
    openapi_extra=UPLOAD,
    responses={
        200: ANSWERS,
        202: body(examples.QUEUED, "With Prefer: respond-async, the job that it became.", model=JobStatus, **JOB_LINKS),
        **problem_responses(400, 401, 406, 408, 413, 415, 422, 429, 500, 503, 507),
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
    service.engine.admit(caller)  # before what takes a thread: who is refused should cost as little as can be
    await service.check_takes_work()
    settings = service.settings
    async with AsyncExitStack() as answer:
        async with receive(request, query, service, caller, settings.max_upload_bytes, answer) as received:
            delivery = Delivery.of(kind, received.parameters)
            received.slot.at_work = True

            control = Control()

            def finish(stems: StemSet) -> Package:
                target = received.directory / "package"
                target.mkdir()
                return pack(stems, delivery, target, settings.max_json_bytes, lambda: control(1.0))

            package = await unless_disconnected(
                request,
                service.pipeline.separate(
                    received.upload,
                    received.directory,
                    received.parameters,
                    service.decode_limits,
                    finish,
                    timeout_s=settings.request_timeout_s,
                    owner=caller,
                    control=control,
                ),
            )
            received.slot.answered = True
        return PackageResponse(package, answer.pop_all())


def _prefers_a_job(request: Request) -> bool:
    """Whether a Prefer header (RFC 7240) says respond-async."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)
