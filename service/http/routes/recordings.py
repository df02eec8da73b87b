"""/recordings: a recording is uploaded and listened to once, and then separated as often as wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from unmingle.model.signal.masks import band_hz
from unmingle.service.http import examples, uploads
from unmingle.service.http.auth import Caller
from unmingle.service.http.disconnect import unless_disconnected
from unmingle.service.http.documentation import body, problem_responses, upload_of
from unmingle.service.http.small_body import SEPARATION_REQUEST, read_json
from unmingle.service.http.state import Service, ServiceState
from unmingle.service.http.wishes import wish_of
from unmingle.service.recordings.entry import Entry
from unmingle.service.scheduling.capacity import Lease
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import (
    KeptRecordingBody,
    NumberEntry,
    RecordingParameters,
    SeparateParameters,
    SeparationBody,
    SeparationRequest,
)

router = APIRouter(prefix="/recordings", tags=["recordings"])

T = TypeVar("T")

_ALSO_OF_SEPARATE = {"num_sources", "masks", "background", "channels", "spatial", "enhance", "quality"}

RecordingId = Annotated[str, Path(description="As POST /recordings gave it.")]


@router.post(
    "",
    operation_id="keep_recording",
    status_code=201,
    response_model=KeptRecordingBody,
    openapi_extra=upload_of(RecordingParameters),
    responses={
        201: body(examples.KEPT, "It is kept, and was listened to."),
        **problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 507),
    },
)
async def create(
    request: Request, query: Annotated[RecordingParameters, Query()], service: Service, caller: Caller
) -> Response:
    """Upload a recording once; what the network hears in it is kept, until nobody has used it for a while."""
    limits = service.upload_limits
    await uploads.check_head(request, limits.max_bytes)
    async with AsyncExitStack() as held:
        lease = held.enter_context(service.ledger.lease(caller))
        announced = uploads.announced_bytes(request)
        for resource in (Resource.RECORDINGS, Resource.REQUESTS):
            lease.take(resource)
        service.ledger.check(lease, Resource.KEPT, 1)
        lease.take(Resource.UPLOADS)
        lease.take(Resource.SPOOL_BYTES, announced)
        await service.check_takes_work()
        lease.transfer = limits.transfer(announced)
        directory = await held.enter_async_context(service.scratch())
        upload = await uploads.receive(request, directory / "upload", limits, lease, Resource.SPOOL_BYTES)
        given = query.model_dump(exclude_unset=True)
        parameters = RecordingParameters.model_validate({**given, **upload.fields})
        lease.uploaded()
        entry = await _in_time(
            request,
            service,
            service.recordings.add(
                upload.path, caller, parameters, service.decode_limits, lambda entry: _take(service, lease, entry)
            ),
        )
        lease.answered = True
        return JSONResponse(_body(service, entry), 201, {"Location": f"/recordings/{entry.id}"})


def _take(service: ServiceState, lease: Lease, entry: Entry) -> None:
    """What the work on a recording takes beside its place on disk."""
    timeout_s = service.settings.request_timeout_s
    service.ledger.check_in_time(entry.seconds, timeout_s, timeout_s)
    lease.take(Resource.AUDIO_SECONDS, entry.seconds)
    lease.take(Resource.AUDIO_BYTES, entry.audio_bytes)


@router.get(
    "/{recording_id}",
    operation_id="kept_recording",
    responses={200: body(examples.KEPT, "The recording."), **problem_responses(401, 404, 422, 429)},
)
async def state(recording_id: RecordingId, service: Service, caller: Caller) -> KeptRecordingBody:
    """What is known of it; asking keeps it for longer."""
    entry = service.recordings.get(recording_id, caller)
    with entry.in_use():
        return KeptRecordingBody.model_validate(_body(service, entry))


@router.delete(
    "/{recording_id}",
    operation_id="forget_recording",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 422, 429),
)
async def delete(recording_id: RecordingId, service: Service, caller: Caller) -> Response:
    """Delete it with all that was made of it, and free its disk space."""
    await service.recordings.delete(service.recordings.get(recording_id, caller))
    return Response(status_code=204)


@router.post(
    "/{recording_id}/separations",
    operation_id="separate_kept_recording",
    status_code=201,
    response_model=SeparationBody,
    openapi_extra=SEPARATION_REQUEST,
    responses={
        201: body(examples.SEPARATION, "It is separated."),
        **problem_responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 507),
    },
)
async def separate(request: Request, recording_id: RecordingId, service: Service, caller: Caller) -> Response:
    """Separate it, without another upload and without the network: clustering, masks and synthesis only.

    With a number, the stems have the bytes that POST /separate gives with that number and the same seed.
    """
    entry = service.recordings.get(recording_id, caller)
    asked = await read_json(request, SeparationRequest, service.settings.client_timeout_s)
    parameters = SeparateParameters.model_validate({**asked.model_dump(include=_ALSO_OF_SEPARATE), "seed": entry.seed})
    service.pipeline.abilities.check(parameters.options)
    with entry.in_use(), service.ledger.lease(caller) as lease:
        for resource in (Resource.RECORDINGS, Resource.REQUESTS):
            lease.take(resource)
        await service.check_takes_work()
        lease.uploaded()
        _take(service, lease, entry)
        made = await _in_time(request, service, service.recordings.separate(entry, wish_of(asked), parameters))
        lease.answered = True
        answer = SeparationBody(
            id=made.id,
            manifest=made.stems.manifest,
            centroids=made.centroids.tolist(),
            sources=list(made.sources),
        )
    return JSONResponse(
        answer.model_dump(mode="json"), 201, {"Location": f"/recordings/{entry.id}/separations/{made.id}"}
    )


async def _in_time(request: Request, service: ServiceState, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, unless the client leaves or the deadline passes."""
    timeout_s = service.settings.request_timeout_s

    async def bounded() -> T:
        async with asyncio.timeout(timeout_s):
            return await work

    try:
        return await unless_disconnected(request, bounded())
    except TimeoutError as error:
        raise service.ledger.late(timeout_s) from error


def _body(service: ServiceState, entry: Entry) -> dict[str, object]:
    config = service.pipeline.abilities.config
    return KeptRecordingBody(
        id=entry.id,
        sample_rate=entry.recording.sample_rate,
        channels=entry.recording.channels,
        samples=entry.recording.samples,
        seconds=entry.seconds,
        expires_in_s=max(0.0, service.recordings.limits.keep_s - (time.monotonic() - entry.used)),
        num_sources=entry.likeliest,
        numbers=[
            NumberEntry(
                num_sources=number.num_sources,
                chance=number.chance,
                clarity=number.clarity,
                centroids=number.centroids.tolist(),
            )
            for number in entry.numbers
        ],
        frame_s=config.hop / config.sample_rate,
        band_hz=band_hz(config).tolist(),
        warnings=list(entry.recording.warnings),
    ).model_dump(mode="json")
