"""What surrounds every request: its id, its log line, and a problem instead of a traceback when all else fails."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems

log = logging.getLogger("service.requests")

REQUEST_ID = "x-request-id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestFrame:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        start, status = time.perf_counter(), 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID.encode(), request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:
            problem = problems.from_exception(error)
            if problem.status == 500:
                log.exception("A request failed", extra={"request_id": request_id})
            if status:
                raise  # the answer has begun; only breaking the connection can say that it is not whole
            await problems.response(problem, request_id)(scope, receive, send_framed)
        finally:
            log.info(
                "%s %s %s",
                scope["method"],
                scope["path"],
                status,
                extra={"request_id": request_id, "seconds": round(time.perf_counter() - start, 4)},
            )


def _request_id(scope: Scope) -> str:
    """The client's, where it is fit for a log; else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode() and _GOOD_ID.fullmatch(given := value.decode("latin-1")):
            return str(given)
    return secrets.token_hex(8)
