"""A packed file -> the response that sends it, or the part of it that Range asks for."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from unmingle.service.output.package import Package
from unmingle.service.problems import Problem


def accepted_types(request: Request) -> str | None:
    """The Accept header, in one line however many the client sends."""
    return ", ".join(request.headers.getlist("accept")) or None


class PackageResponse(FileResponse):
    """A packed file, and how long each stage took; `held` is closed when it is sent, or cannot be."""

    chunk_size = 2**20
    """Bytes read in a turn of a thread. With the 64 KiB of the base class, turns take a tenth of a short answer."""

    def __init__(self, package: Package, held: AsyncExitStack) -> None:
        seconds = package.manifest.stage_seconds
        timing = ", ".join(f"{stage};dur={value * 1000:.1f}" for stage, value in seconds.items())
        super().__init__(
            package.path,
            media_type=package.media_type,
            filename=package.filename or None,
            headers={"Server-Timing": timing},
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            Problem: Range asks for what is not there.
        """
        async with self._held:
            try:
                await super().__call__(scope, receive, _whole_or_part(send))
            except _NoRangeError:  # what cannot be understood is to be ignored, says RFC 9110
                headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
                await super().__call__({**scope, "headers": headers}, receive, send)


class _NoRangeError(Exception):
    """The Range header is not one."""


def _whole_or_part(send: Send) -> Send:
    """Like `send`, but the plain text that the base class has for bad ranges becomes an exception."""

    async def checked(message: Message) -> None:
        status = message.get("status")
        if status == 400:
            raise _NoRangeError
        if status == 416:
            size = dict(message["headers"])[b"content-range"].decode()
            raise Problem(
                "range_not_satisfiable",
                f"The file has {size.removeprefix('bytes */')} bytes, and Range asks for none of them.",
                headers={"Content-Range": size},
            )
        await send(message)

    return checked
