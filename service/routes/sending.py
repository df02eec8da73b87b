"""A packed file -> the response that sends it."""

from __future__ import annotations

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from service.package import Package


def send(package: Package, afterwards: BackgroundTask | None = None) -> FileResponse:
    """The answer with a packed file, and how long each stage took."""
    timing = ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in package.manifest.stage_seconds.items())
    return FileResponse(
        package.path,
        media_type=package.media_type,
        filename=package.filename or None,
        headers={"Server-Timing": timing},
        background=afterwards,
    )
