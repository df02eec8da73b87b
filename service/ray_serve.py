"""The server as a Ray Serve deployment: `unmingle serve --ray`. The same app answers, behind Ray Serve's HTTP proxy."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmingle.service import logs, memory, tracing
from unmingle.service.app import create_app
from unmingle.service.settings import Settings, SettingsError
from unmingle.service.workers.on_ray import cluster  # before Ray itself, which it keeps from telling that it is used

from ray import serve  # isort: skip

log = logging.getLogger("unmingle.service.server")

_NAME = "unmingle"
_TRIES = 3
_AT_ONCE = 100_000
"""Requests that Ray Serve lets through: what is too much is for the app's own limits to say, with Retry-After."""


def run(settings: Settings) -> None:
    """Run the server on a Ray cluster until it is told to stop.

    Raises:
        SettingsError: several fronts are wanted, and what they have to share is not named.
        ClusterError: the cluster cannot be used.
    """
    if settings.ray_fronts > 1 and not (settings.database_url and settings.store_url):
        raise SettingsError(
            f"UNMINGLE_RAY_FRONTS={settings.ray_fronts}: several fronts share their jobs; expected "
            "UNMINGLE_DATABASE_URL and UNMINGLE_STORE_URL, or one front."
        )
    cluster.connect(settings.ray_address, settings.ray_start_s)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    def build() -> FastAPI:
        return _build(settings)

    front: Any = serve.deployment(serve.ingress(build)())
    front = front.options(
        name=_NAME,
        num_replicas=settings.ray_fronts,
        max_ongoing_requests=_AT_ONCE,
        max_queued_requests=-1,
        graceful_shutdown_timeout_s=settings.grace_s,
        ray_actor_options={"num_cpus": 1},
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # after Ray, which has handlers of its own
        signal.signal(number, _stop)
    try:
        _start(settings)
        serve.run(front.bind(), name=_NAME, route_prefix="/", blocking=False)
        log.info("listening on http://%s:%s", settings.host, settings.port)
        threading.Event().wait()
    except _StoppedError:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # who asks again does not want to wait
            signal.signal(number, signal.SIG_DFL)
        serve.shutdown()


class _StoppedError(BaseException):
    """Somebody asked to stop. No `Exception`: Ray Serve, which waits for room for all fronts, would take it for one."""


def _stop(number: int, frame: object) -> None:
    raise _StoppedError


def _start(settings: Settings) -> None:
    """Start Ray Serve and its proxy, for which it waits a minute: too little where a machine is busy with others."""
    for _ in range(_TRIES):
        try:
            # A loopback address is one of the machine's where the proxy runs: that of the head node.
            serve.start(proxy_location="HeadOnly", http_options={"host": settings.host, "port": settings.port})
            return
        except TimeoutError:
            log.warning("the proxy of Ray Serve is not there yet; waiting")
    raise cluster.ClusterError(
        "The proxy of Ray Serve does not start; Ray's logs say why, most likely its port is taken."
    )


def _build(settings: Settings) -> FastAPI:
    """The app, in a process of Ray Serve's."""
    logs.configure(settings.log_format, settings.log_level)
    memory.bound_arenas()
    if settings.traces_url:
        tracing.configure(settings.traces_url, tracing.FRONT)
    if settings.ray_fronts > 1:  # a directory belongs to one server
        rank = serve.get_replica_context().rank.rank
        settings = settings.model_copy(update={"data_dir": settings.data_dir / f"front-{rank}"})
    app = create_app(settings)
    app.add_middleware(_OneRequestId)
    return app


class _OneRequestId:
    """ASGI middleware: Ray Serve sends every answer's request id itself, the one that it gave the request before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name.lower() != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_on)
