"""What can be seen of a finished job: waveforms, a map, and a picture of who is heard where."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from unmingle.service.http import examples
from unmingle.service.http.auth import Caller
from unmingle.service.http.documentation import PNG, body, problem_responses
from unmingle.service.http.routes.jobs import JobId
from unmingle.service.http.state import Service
from unmingle.service.http.views import FOREVER_S, End, Start, outline, points_body
from unmingle.service.output import png
from unmingle.service.schemas import JobPointsBody, PeaksBody

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
