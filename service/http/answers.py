"""A package -> the response that sends it, or the part of it that Range asks for (RFC 9110, 13 and 14)."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unmingle.service.http.sending import LEASE, SENDING
from unmingle.service.output.package import Package
from unmingle.service.problems import Problem
from unmingle.service.scheduling.capacity import Lease

PRIVATE = "private, no-cache"
"""Only the client itself may cache it, and it must revalidate each time."""

_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


def accepted_types(request: Request) -> str | None:
    """The Accept header, in one line however many the client sends."""
    return ", ".join(request.headers.getlist("accept")) or None


class PackageResponse(Response):
    """A package, and how long each stage took; `held` is closed when it is sent, or cannot be.

    While it is sent, the lease has a transfer that tells how much the client has received.
    """

    def __init__(self, package: Package, lease: Lease, held: AsyncExitStack) -> None:
        seconds = package.manifest.stage_seconds
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": PRIVATE,
            "ETag": package.content.etag,
            "Server-Timing": ", ".join(f"{stage};dur={value * 1000:.1f}" for stage, value in seconds.items()),
        }
        if package.filename:
            headers["Content-Disposition"] = f'attachment; filename="{quote(package.filename)}"'
        super().__init__(None, 200, headers, package.media_type)
        del self.headers["content-length"]
        self._content, self._lease, self._held = package.content, lease, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or a part, or that the client has it already.

        Raises:
            Problem: Range asks for what is not there.
        """
        async with self._held:
            asked = Request(scope).headers
            etag, size = self.headers["etag"], self._content.size
            if any(tag.strip().removeprefix("W/") in ("*", etag) for tag in asked.get("if-none-match", "").split(",")):
                self.status_code = 304
                del self.headers["content-type"]
                await self._send(scope, send, 0, 0)
                return
            start, end = 0, size
            if asked.get("if-range", etag) == etag and (part := _part(asked.get("range", ""), size)):
                start, end = part
                self.status_code = 206
                self.headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
            self.headers["content-length"] = str(end - start)
            await self._send(scope, send, start, end)

    async def _send(self, scope: Scope, send: Send, start: int, end: int) -> None:
        scope["state"][LEASE] = self._lease
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        left = 0 if scope["state"].get("head") else end - start
        blocks = self._content.blocks(start, start + left)
        while left:
            block = await asyncio.to_thread(next, blocks)
            left -= len(block)
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})
        if start == end or scope["state"].get("head"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if SENDING in scope["state"]:  # what is in our buffers has not been received
            await scope["state"][SENDING].taken()


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None where Range is to be ignored, as several ranges are.

    Raises:
        Problem: there are no such bytes.
    """
    found = _ONE_RANGE.fullmatch(asked.strip())
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Problem(
            "range_not_satisfiable",
            f"The file has {size} bytes, and Range asks for none of them.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
