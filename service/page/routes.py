"""GET /: a page to try the service with. Its files lie in service/page; nothing of it comes from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.responses import FileResponse

from unmingle.model.options import MAX_SOURCES, Quality
from unmingle.service.http.auth import Caller
from unmingle.service.http.state import Service
from unmingle.service.problems import Problem
from unmingle.service.version import version

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent
_MEDIA_TYPES = {
    ".css": "text/css",
    ".flac": "audio/flac",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FILES = {path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # a new version must not meet modules of the old one
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address may hold the id of a job
    "X-Content-Type-Options": "nosniff",
}


class PageSettings(BaseModel):
    """What the page must know before it sends anything."""

    version: str
    needs_key: bool
    max_sources: int
    max_request_bytes: int
    max_request_seconds: float
    max_job_bytes: int
    max_job_seconds: float
    qualities: list[Quality]


@router.get("/")
async def page() -> FileResponse:
    """Upload a recording, hear its stems."""
    return _file("index.html")


@router.get("/page/settings")
async def settings(service: Service) -> PageSettings:
    """What this server takes and can do: a recording that is too large need not be sent to find that out."""
    chosen = service.settings
    return PageSettings(
        version=version(),
        needs_key=bool(chosen.api_keys),
        max_sources=MAX_SOURCES,
        max_request_bytes=chosen.max_upload_bytes,
        max_request_seconds=chosen.max_seconds,
        max_job_bytes=chosen.job_max_upload_bytes,
        max_job_seconds=chosen.job_max_seconds,
        qualities=list(service.pipeline.abilities.qualities),
    )


@router.get("/page/key", status_code=204)
async def key(caller: Caller) -> Response:
    """204 if the API key is good: said before a large recording is sent, not after."""
    return Response(status_code=204)


@router.get("/page/files/{name:path}")
async def file(name: str) -> FileResponse:
    """A script, a style sheet, an example."""
    return _file(name)


def _file(name: str) -> FileResponse:
    """Only what was there when the server started; a name is looked up, never made into a path."""
    if name not in _FILES:
        raise Problem("not_found", f"The page has no file {name}.")
    path = _FILES[name]
    return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=_HEADERS)
