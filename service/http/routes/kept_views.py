"""What can be seen of a kept recording and its separations: points, masks, peaks, and the stems themselves."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path as FilePath
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import FileResponse

from unmingle.model.choices import Vectors
from unmingle.service.http import examples
from unmingle.service.http.answers import PackageResponse, accepted_types
from unmingle.service.http.auth import Caller
from unmingle.service.http.disconnect import unless_disconnected
from unmingle.service.http.documentation import (
    ANSWERS,
    NOT_MODIFIED,
    PART_OF_ANSWER,
    PNG,
    SOUND,
    body,
    problem_responses,
)
from unmingle.service.http.routes.recordings import RecordingId
from unmingle.service.http.state import Service
from unmingle.service.http.views import FOREVER_S, End, Start, outline, points_body
from unmingle.service.output import encoding
from unmingle.service.output.content import Content, FilePart
from unmingle.service.output.package import Delivery, Package, negotiate
from unmingle.service.output.peaks import peaks
from unmingle.service.problems import Problem
from unmingle.service.recordings.entry import DECODED, Entry, Made
from unmingle.service.scheduling.limits import Resource
from unmingle.service.scheduling.work import Work
from unmingle.service.schemas import Format, PeaksBody, PointsBody, ResultParameters, Subtype
from unmingle.service.workers.tasks import EncodeStem, Pack

router = APIRouter(prefix="/recordings/{recording_id}", tags=["recordings"])

SeparationId = Annotated[str, Path(description="As POST /recordings/{recording_id}/separations gave it.")]
Parts = Annotated[int, Query(ge=1, le=8192)]


@router.get(
    "/points",
    operation_id="points",
    responses={200: body(examples.POINTS, "The sample."), **problem_responses(401, 404, 422, 429, 503, 507)},
)
async def points(
    recording_id: RecordingId,
    service: Service,
    caller: Caller,
    most: Annotated[int, Query(ge=1, le=65_536)] = 8192,
) -> PointsBody:
    """A bounded sample of the bins that are heard, with their embeddings; the same sample each time."""
    entry = service.recordings.get(recording_id, caller)
    with entry.in_use():
        return points_body(await service.recordings.points(entry, most))


@router.get(
    "/masks",
    operation_id="masks",
    response_class=Response,
    responses={200: PNG, **problem_responses(401, 404, 422, 429, 503, 507)},
)
async def masks(
    recording_id: RecordingId,
    service: Service,
    caller: Caller,
    num_sources: Annotated[int | None, Query(ge=1, le=8, description="Of so many sounds; or")] = None,
    separation: Annotated[str | None, Query(max_length=64, description="of this separation.")] = None,
    start_s: Start = 0.0,
    end_s: End = FOREVER_S,
    width: Annotated[int, Query(ge=1, le=4096, description="Columns.")] = 1024,
) -> Response:
    """A picture of who is heard where: red is the number of the sound, from 0; green how certain it is; blue how loud.

    A row is a band, the highest on top. Sounds are numbered as in `centroids`.
    """
    if (num_sources is None) == (separation is None):
        raise Problem("parameter_invalid", "Expected either num_sources or separation.")
    entry = service.recordings.get(recording_id, caller)
    with entry.in_use():
        picture = await service.recordings.masks(
            entry, _centroids(entry, num_sources, separation), start_s, end_s, width
        )
    return Response(picture, media_type="image/png")


def _centroids(entry: Entry, num_sources: int | None, separation: str | None) -> Vectors:
    if num_sources is not None:
        return entry.numbers[num_sources - 1].centroids
    with entry.separation(separation or "") as made:
        return made.centroids


@router.get(
    "/peaks",
    operation_id="peaks",
    responses={200: body(examples.PEAKS, "The outline."), **problem_responses(401, 404, 422, 429)},
)
async def recording_peaks(
    recording_id: RecordingId,
    service: Service,
    caller: Caller,
    separation: Annotated[str | None, Query(max_length=64, description="Of a stem of this separation.")] = None,
    stem: Annotated[int, Query(ge=1, le=9, description="Which; the background comes after the stems.")] = 1,
    start_s: Start = 0.0,
    end_s: End = FOREVER_S,
    parts: Parts = 1024,
) -> PeaksBody:
    """The outline of the recording's waveform, or of a stem's."""
    entry = service.recordings.get(recording_id, caller)
    rate = entry.recording.sample_rate
    start, end = round(start_s * rate), round(min(end_s, entry.seconds) * rate)
    with entry.in_use():
        if separation is None:
            path, shape = entry.directory / DECODED, (entry.recording.samples, -1)
            found = await service.recordings.read(
                lambda: peaks([np.memmap(path, np.dtype("<f4"), "r").reshape(shape)], start, end, parts)
            )
        else:
            with entry.separation(separation) as made:
                file = _file(made, stem)
                found = await service.recordings.read(lambda: peaks([made.stems.samples(file)], start, end, parts))
    return outline(found)


def _file(made: Made, stem: int) -> FilePath:
    if stem > len(made.stems.files):
        raise Problem("parameter_invalid", f"stem={stem}, but there are {len(made.stems.files)}.")
    return made.stems.files[stem - 1]


@router.get(
    "/separations/{separation_id}/result",
    operation_id="separation_result",
    response_class=FileResponse,
    responses={
        200: ANSWERS,
        206: PART_OF_ANSWER,
        304: NOT_MODIFIED,
        **problem_responses(401, 404, 406, 413, 416, 422, 429, 500, 503, 507),
    },
)
async def result(
    request: Request,
    recording_id: RecordingId,
    separation_id: SeparationId,
    query: Annotated[ResultParameters, Query()],
    service: Service,
    caller: Caller,
) -> Response:
    """The stems, in the type that Accept asks for, as POST /separate sends them; Range requests work."""
    entry = service.recordings.get(recording_id, caller)
    delivery = Delivery.of(negotiate(accepted_types(request), query.stem), query)
    async with AsyncExitStack() as held:
        held.enter_context(entry.in_use())
        made = held.enter_context(entry.separation(separation_id))
        lease = held.enter_context(service.ledger.lease(caller))
        lease.take(Resource.DOWNLOADS)
        directory = await held.enter_async_context(service.scratch())
        if not delivery.is_as_it_is:
            lease.take(Resource.SPOOL_BYTES, sum(file.stat().st_size for file in made.stems.files))
        task = Pack(made.stems, delivery, directory / "package", service.settings.max_json_bytes)
        package = await unless_disconnected(request, service.engine.run(Work(task, 0.0, "packing")))
        return PackageResponse(package, lease, held.pop_all())


@router.get(
    "/separations/{separation_id}/stems/{stem}",
    operation_id="separation_stem",
    response_class=FileResponse,
    responses={
        200: SOUND,
        206: SOUND,
        304: NOT_MODIFIED,
        **problem_responses(401, 404, 416, 422, 429, 500, 503, 507),
    },
)
async def stem_alone(
    request: Request,
    recording_id: RecordingId,
    separation_id: SeparationId,
    service: Service,
    caller: Caller,
    stem: Annotated[int, Path(ge=1, le=9, description="From 1; the background comes after the stems.")],
    format: Annotated[Format, Query(description="File format.")] = "flac",
    subtype: Annotated[Subtype | None, Query(description="Sample type.")] = None,
) -> Response:
    """One stem, in any format; Range requests work."""
    entry = service.recordings.get(recording_id, caller)
    async with AsyncExitStack() as held:
        held.enter_context(entry.in_use())
        made = held.enter_context(entry.separation(separation_id))
        chosen = encoding.check(format, subtype, made.stems.manifest.sample_rate, made.stems.manifest.channels)
        file = _file(made, stem)
        lease = held.enter_context(service.ledger.lease(caller))
        lease.take(Resource.DOWNLOADS)
        directory = await held.enter_async_context(service.scratch())
        target = directory / f"{file.stem}.{format}"
        if (format, chosen) == ("wav", "FLOAT"):
            target = file
        else:
            lease.take(Resource.SPOOL_BYTES, file.stat().st_size)
            task = EncodeStem(made.stems, file, target, format, chosen)
            await unless_disconnected(request, service.engine.run(Work(task, 0.0, "packing")))
        content = Content((FilePart.of(target),))
        package = Package(content, encoding.MEDIA_TYPES[format], target.name, made.stems.manifest)
        return PackageResponse(package, lease, held.pop_all())
