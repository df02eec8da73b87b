"""POST /separate: a recording in, its stems out, in one request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from service import upload
from service.auth import Caller
from service.disconnect import unless_disconnected
from service.engine import Control
from service.package import Delivery, Package, negotiate, pack
from service.routes import jobs
from service.routes.documentation import ANSWERS, UPLOAD, problem_responses
from service.routes.parameters import with_fields
from service.routes.sending import send
from service.schemas import JobStatus, SeparateParameters
from service.state import Service
from service.stems import StemSet

router = APIRouter(tags=["separate"])


@router.post(
    "/separate",
    response_class=FileResponse,
    openapi_extra=UPLOAD,
    responses={
        200: ANSWERS,
        202: {"model": JobStatus, "description": "With Prefer: respond-async, the job that it became."},
        **problem_responses(400, 401, 406, 413, 415, 422, 429, 500, 503, 507),
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
    if "respond-async" in (prefer or "").lower():
        accepted = await jobs.accept(request, query, service, caller, idempotency_key)
        accepted.headers["Preference-Applied"] = "respond-async"
        return accepted
    kind = negotiate(request.headers.get("accept"), query.stem)
    service.engine.admit(caller)
    settings = service.settings
    scratch = service.scratch()
    directory = await scratch.__aenter__()
    try:
        received = await upload.receive(request, directory / "upload", settings.max_upload_bytes)
        parameters = with_fields(query, received.fields, service.pipeline.model)
        delivery = Delivery.of(kind, parameters)

        control = Control()

        def finish(stems: StemSet) -> Package:
            target = directory / "package"
            target.mkdir()
            return pack(stems, delivery, target, settings.max_json_bytes, lambda: control(1.0))

        package = await unless_disconnected(
            request,
            service.pipeline.separate(
                received.path,
                directory,
                parameters,
                service.decode_limits,
                finish,
                timeout_s=settings.request_timeout_s,
                owner=caller,
                control=control,
            ),
        )
    except BaseException:
        await scratch.__aexit__(None, None, None)
        raise
    return send(package, BackgroundTask(scratch.__aexit__, None, None, None))
