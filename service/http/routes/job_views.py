"""What can be seen and heard of a finished job: waveforms, a map, a picture of who is heard where, single stems."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import FileResponse

from unmingle.service.http import examples
from unmingle.service.http.answers import PackageResponse
from unmingle.service.http.auth import Caller
from unmingle.service.http.documentation import NOT_MODIFIED, PNG, SOUND, body, problem_responses
from unmingle.service.http.routes.jobs import JobId
from unmingle.service.http.state import Service
from unmingle.service.http.views import FOREVER_S, End, Start, outline, points_body
from unmingle.service.output import png
from unmingle.service.output.package import Delivery
from unmingle.service.schemas import Format, JobPointsBody, PeaksBody, Subtype

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])


@router.get(
    "/peaks",
    operation_id="job_peaks",
    responses={200: body(examples.PEAKS, "The outline."), **problem_responses(401, 404, 409, 422, 429)},
)
async def job_peaks(
    job_id: JobId,
    service: Service,
    caller: Caller,
    stem: Annotated[
        int, Query(ge=0, le=9, description="Which; the background comes after the stems. 0 is all of them together.")
    ] = 1,
    start_s: Start = 0.0,
    end_s: End = FOREVER_S,
    parts: Annotated[int, Query(ge=1, le=8192)] = 1024,
) -> PeaksBody:
    """The outline of a stem's waveform, or of the recording's."""
    job = await service.jobs.get(job_id, caller)
    return outline(await service.jobs.results.peaks(job, stem, start_s, end_s, parts))


@router.get(
    "/points",
    operation_id="job_points",
    responses={200: body(examples.JOB_POINTS, "The sample."), **problem_responses(401, 404, 409, 422, 429)},
)
async def job_points(job_id: JobId, service: Service, caller: Caller) -> JobPointsBody:
    """A bounded sample of the bins that are heard, with their embeddings, and the centroids of the sounds."""
    overview = await service.jobs.results.overview(await service.jobs.get(job_id, caller))
    return JobPointsBody(
        **points_body(overview.points).model_dump(),
        centroids=overview.centroids.tolist(),
        sources=overview.order.tolist(),
        frame_s=overview.frame_s,
        band_hz=overview.band_hz.tolist(),
    )


@router.get(
    "/masks",
    operation_id="job_masks",
    response_class=Response,
    responses={200: PNG, **problem_responses(401, 404, 409, 422, 429)},
)
async def job_masks(
    job_id: JobId,
    service: Service,
    caller: Caller,
    start_s: Start = 0.0,
    end_s: End = FOREVER_S,
    width: Annotated[int, Query(ge=1, le=4096, description="Columns.")] = 1024,
) -> Response:
    """A picture of who is heard where, as of a kept recording; it gets no finer than 8192 columns for the whole."""
    overview = await service.jobs.results.overview(await service.jobs.get(job_id, caller))
    content = await asyncio.to_thread(lambda: png.of_masks(overview.picture(start_s, end_s, width)))
    return Response(content, media_type="image/png")


@router.get(
    "/stems/{stem}",
    operation_id="job_stem",
    response_class=FileResponse,
    responses={
        200: SOUND,
        206: SOUND,
        304: NOT_MODIFIED,
        **problem_responses(401, 404, 409, 416, 422, 429, 500, 503, 507),
    },
)
async def job_stem(
    job_id: JobId,
    service: Service,
    caller: Caller,
    stem: Annotated[int, Path(ge=1, le=9, description="From 1; the background comes after the stems.")],
    format: Annotated[Format, Query(description="File format.")] = "flac",
    subtype: Annotated[Subtype | None, Query(description="Sample type.")] = None,
) -> Response:
    """One stem, in any format: encoded when it is first asked for, then kept with the job. Range requests work."""
    job = await service.jobs.get(job_id, caller)
    delivery = Delivery.alone(stem, format, subtype)
    async with AsyncExitStack() as held:
        lease = held.enter_context(service.ledger.lease(caller))
        held.enter_context(service.jobs.leases.download(job.id, lease))
        directory = await held.enter_async_context(service.scratch())
        # Encoding goes on if the client leaves: players and proxies that lose patience come back for it.
        package = await service.jobs.results.package(job, delivery, directory)
        return PackageResponse(package, lease, held.pop_all())
