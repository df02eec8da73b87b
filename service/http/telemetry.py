"""Around every request: its id, its log line, and a problem instead of a traceback for unexpected errors."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmingle.service import tracing
from unmingle.service.http import failures
from unmingle.service.http.metrics import Metrics
from unmingle.service.http.sending import PacedSend
from unmingle.service.http.site import Site
from unmingle.service.http.uploads import UploadLimits
from unmingle.service.problems import Problem

log = logging.getLogger("unmingle.service.requests")

REQUEST_ID = "x-request-id"
_PROBES = ("/livez", "/readyz", "/health", "/metrics")
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TIME_IS_UP = Problem(
    "not_ready",
    "The server ends, and this request took longer than it could wait. Send it again in 5 s.",
    headers={"Retry-After": "5", "Connection": "close"},
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class InFlight:
    """Requests that are being answered. Belongs to one event loop."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ended = False

    def end(self) -> None:
        """The grace period is over: requests without an answer get a problem, and answers being sent are cut off."""
        self.ended = True
        for task in self.tasks:
            task.cancel()


class RequestFrame:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics, site: Site, limits: UploadLimits, in_flight: InFlight) -> None:
        """Give up on clients that take their answer more slowly than `limits` allows for uploads."""
        self._app, self._metrics, self._site = app, metrics, site
        self._limits, self._in_flight = limits, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._limits, self._metrics)
        if scope["path"] in _PROBES:
            await self._serve(exchange, receive)
            return
        parent = exchange.headers.get("traceparent")
        with tracing.span(exchange.method, kind="server", parent=parent) as span:
            await self._serve(exchange, receive)
            exchange.describe(span)

    async def _serve(self, exchange: _Exchange, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._in_flight.tasks.add(task)
        try:
            self._site.check(exchange.scope["method"], exchange.headers)
            await self._app(exchange.scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.break_off(499)
        except asyncio.CancelledError:
            if not self._in_flight.ended:
                raise
            task.uncancel()
            await exchange.fail(_TIME_IS_UP, receive)
        except Exception as error:
            problem = failures.problem_of(error)
            if problem.status == 500:
                log.exception("A request failed", extra={"request_id": exchange.request_id})
            await exchange.fail(problem, receive)
        finally:
            self._in_flight.tasks.discard(task)
            exchange.account()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, limits: UploadLimits, metrics: Metrics) -> None:
        self.headers, self._metrics = Headers(scope=scope), metrics
        self.request_id = scope.setdefault("state", {})["request_id"] = _request_id(self.headers)
        self.scope, self.method = scope, scope["method"]
        if self.method == "HEAD":  # whatever has a GET has a HEAD; uvicorn leaves the body out
            scope["state"]["head"] = True
            self.scope = {**scope, "method": "GET"}
        self._paced = PacedSend(scope, send, limits)
        self._start, self._status, self._accounted = time.perf_counter(), 0, False

    async def send(self, message: Message) -> None:
        """ASGI's `send`, with what every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            added = {REQUEST_ID: self.request_id}
            if "cache-control" not in Headers(raw=message.setdefault("headers", [])):
                added["cache-control"] = "no-store"
            if "content-length" in self.headers and "transfer-encoding" in self.headers:
                added["connection"] = (
                    "close"  # both sides may disagree on where the next request begins (RFC 9112, 6.3)
                )
            message["headers"] += [(name.encode(), value.encode()) for name, value in added.items()]
        elif message["type"] == "http.response.body" and not message.get("more_body") and not self._paced.gone:
            self.account()  # before the last chunk is sent, so that a client that has the whole answer finds it counted
        await self._paced(message)

    async def fail(self, problem: Problem, receive: Receive) -> None:
        """Send a problem; if an answer has begun, only closing the connection can tell that it is incomplete."""
        if self._status:
            self.break_off(500)
            return
        self.scope["state"]["problem"] = problem.code
        try:
            await failures.response(problem, self.request_id)(self.scope, receive, self.send)
        except ClientDisconnect:
            self.break_off(499)

    def break_off(self, status: int) -> None:
        """The client does not get the whole answer: it has left, or is given up, or the server fails."""
        self._status = status
        self._paced.break_off()

    def describe(self, span: tracing.Traced) -> None:
        """What a trace says of it."""
        route, problem_code = self._route(), self.scope["state"].get("problem")
        span.name(f"{self._known_method()} {route}")
        span.note(
            {
                "http.request.method": self._known_method(),
                "http.route": route,
                "http.response.status_code": self._status,
                "unmingle.request_id": self.request_id,
                **({"error.type": problem_code} if problem_code else {}),
            }
        )
        if self._status >= 500:
            span.fail(problem_code or "")

    def account(self) -> None:
        """Count it and log it, once."""
        if self._accounted:
            return
        self._accounted = True
        seconds = time.perf_counter() - self._start
        route, problem_code = self._route(), self.scope["state"].get("problem")
        self._metrics.answered("any" if route == "unknown" else self._known_method(), route, self._status, seconds)
        if problem_code:
            self._metrics.rejected(problem_code)
        extra: dict[str, object] = {"request_id": self.request_id, "seconds": round(seconds, 4)}
        if problem_code:
            extra["problem"] = problem_code
        level = logging.DEBUG if route in _PROBES else logging.INFO
        log.log(level, "%s %s %s", self.method, route, self._status, extra=extra)

    def _route(self) -> str:
        return getattr(self.scope.get("route"), "path", "unknown")

    def _known_method(self) -> str:
        """Each made-up method would become a time series of its own."""
        return self.method if self.method in _METHODS else "other"


def _request_id(headers: Headers) -> str:
    """The client's, if it is safe to log; otherwise a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
