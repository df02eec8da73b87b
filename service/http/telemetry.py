"""What surrounds every request: its id, its log line, and a problem instead of a traceback when all else fails."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmingle.service import problems
from unmingle.service.http.metrics import Metrics

log = logging.getLogger("unmingle.service.requests")

REQUEST_ID = "x-request-id"
_PROBES = ("/livez", "/readyz", "/health", "/metrics")
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestFrame:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics, client_timeout_s: float) -> None:
        """Give up on clients that take nothing of their answer for `client_timeout_s`."""
        self._app, self._metrics, self._client_timeout_s = app, metrics, client_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        start, status, accounted = time.perf_counter(), 0, False

        def account() -> None:
            nonlocal accounted
            if not accounted:
                accounted = True
                self._account(scope, status, time.perf_counter() - start, request_id)

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID.encode(), request_id.encode()))
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                account()  # before the last of it goes out: who has the whole answer finds it counted
            try:
                async with asyncio.timeout(self._client_timeout_s):
                    await send(message)
            except TimeoutError as error:
                raise ClientDisconnect from error

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
            scope["state"]["problem"] = problem.code
            await problems.response(problem, request_id)(scope, receive, send_framed)
        finally:
            account()

    def _account(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        problem_code = scope["state"].get("problem")
        self._metrics.answered(scope["method"] if route != "unknown" else "any", route, status, seconds)
        if problem_code:
            self._metrics.rejected(problem_code)
        extra = {"request_id": request_id, "seconds": round(seconds, 4)}
        if problem_code:
            extra["problem"] = problem_code
        level = logging.DEBUG if route in _PROBES else logging.INFO
        log.log(level, "%s %s %s", scope["method"], route, status, extra=extra)


def _request_id(scope: Scope) -> str:
    """The client's, where it is fit for a log; else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode() and _GOOD_ID.fullmatch(given := value.decode("latin-1")):
            return str(given)
    return secrets.token_hex(8)
