"""The server process: uvicorn, with a graceful stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn

from unmingle.service.app import create_app
from unmingle.service.http.protocol import Connection
from unmingle.service.http.state import ServiceState
from unmingle.service.http.telemetry import InFlight
from unmingle.service.settings import Settings
from unmingle.service.workers.staff import Staff

log = logging.getLogger("unmingle.service.server")


_TELLING_S = 2
"""How long clients are told, after the grace period, that the server stops."""


class DrainingServer(uvicorn.Server):
    """On SIGTERM or SIGINT: refuse new work at once, finish what is in flight within the grace period, exit with 0.

    While it drains it still listens, so that probes and clients are told. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: ServiceState, in_flight: InFlight) -> None:
        super().__init__(config)
        self._service, self._in_flight = service, in_flight
        self._client_timeout_s = service.settings.client_timeout_s
        self._stop_at: float | None = None
        self._silent: dict[Any, tuple[Any, float]] = {}
        """Idle connections: their last request, and since when they have been idle."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end."""
        if self._stop_at is None:
            self._service.ledger.closed = True
            self._stop_at = time.monotonic() + self._service.settings.grace_s
        else:
            self.should_exit = self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for server in self.servers:
            for bound in server.sockets:
                host, port = bound.getsockname()[:2]
                log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second by uvicorn; True ends the server."""
        if self._stop_at is not None:
            late_s = time.monotonic() - self._stop_at
            if late_s >= 0 and not self._in_flight.ended:
                self._in_flight.end()
            idle = not self._service.ledger.waits_for_clients
            self.should_exit = self.should_exit or idle or late_s >= _TELLING_S
        if counter % 10 == 0:
            self._close_silent_connections()
        return await super().on_tick(counter)

    def _close_silent_connections(self) -> None:
        """Close idle connections: uvicorn waits for ever for a client that never sends a whole request head."""
        now, before = time.monotonic(), self._silent
        self._silent = {}
        for connection in self.server_state.connections:
            last = getattr(connection, "cycle", None)
            if last is None or last.response_complete:
                seen, since = before.get(connection, (last, now))
                since = since if seen is last else now  # there were requests since the last check
                self._silent[connection] = (last, since)
                if now - since > self._client_timeout_s and connection.transport is not None:
                    connection.transport.close()


def run(settings: Settings, staff: Staff) -> None:
    """Run the server until it is told to stop.

    Raises:
        ModelError: the model cannot be used.
        DataDirError: the data directory cannot be used.
    """
    app = create_app(settings, staff)
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        access_log=False,
        server_header=False,
        log_config=None,
        http=Connection,
        timeout_graceful_shutdown=_TELLING_S,
    )
    sys.setswitchinterval(0.001)  # so that threads that pack hand over the GIL to the event loop soon
    asyncio.run(DrainingServer(config, app.state.service, app.state.in_flight).serve())
