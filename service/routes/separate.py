"""POST /separate: a recording in, its stems out, in one request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from model.separator import Separator
from service import stems, upload
from service.audio_io import Recording
from service.disconnect import unless_disconnected
from service.engine import Control, Work
from service.schemas import Manifest, SeparateParameters
from service.state import Service, ServiceState

router = APIRouter(tags=["separate"])

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "WAV, FLAC, Ogg or MP3."},
                        **SeparateParameters.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}


@router.post(
    "/separate",
    response_class=FileResponse,
    openapi_extra=FORM,
    responses={200: {"content": {"application/zip": {}}, "description": "stem_1.wav ... and manifest.json"}},
)
async def separate(request: Request, query: Annotated[SeparateParameters, Query()], service: Service) -> Response:
    """Separate a recording: a ZIP with stem_1.wav ... (loudest first) and manifest.json."""
    service.engine.admit()
    scratch = service.scratch()
    directory = await scratch.__aenter__()
    try:
        received = await upload.receive(request, directory / "upload", service.settings.max_upload_bytes)
        parameters = with_fields(query, received.fields)
        await unless_disconnected(request, _separate(service, directory, parameters))
    except BaseException:
        await scratch.__aexit__(None, None, None)
        raise
    return FileResponse(
        directory / "stems.zip",
        media_type="application/zip",
        filename="stems.zip",
        background=BackgroundTask(scratch.__aexit__, None, None, None),
    )


def with_fields(query: SeparateParameters, fields: dict[str, str]) -> SeparateParameters:
    """The query's parameters with those of the form over them."""
    given = query.model_dump(exclude_unset=True)
    return SeparateParameters.model_validate({**given, **fields})


async def _separate(service: ServiceState, directory: Path, parameters: SeparateParameters) -> Manifest:
    recording = await service.decoder.decode(directory / "upload", directory / "samples", service.decode_limits)
    work = Work(
        run=lambda separator, control: _run(
            separator, control, recording, parameters, service, directory / "stems.zip"
        ),
        audio_seconds=recording.seconds,
        audio_bytes=recording.samples.nbytes,
        timeout_s=service.settings.request_timeout_s,
    )
    return await service.engine.run(work)


def _run(
    separator: Separator,
    control: Control,
    recording: Recording,
    parameters: SeparateParameters,
    service: ServiceState,
    target: Path,
) -> Manifest:
    separation = separator.separate(
        recording.samples,
        recording.sample_rate,
        parameters.num_sources,
        seed=parameters.seed,
        mask_kind=parameters.masks,
        progress=control,
    )
    return stems.write_zip(target, separation, recording, parameters, service.model)
