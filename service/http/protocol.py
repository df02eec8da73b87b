"""HTTP/1.1 on one connection: uvicorn's, with how much the client has received, and answers to malformed requests."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import sys
import termios
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from unmingle.service.problems import MEDIA_TYPE, Problem, body_of

CONNECTION = "connection"
"""Where a request's `scope["state"]` has the Connection that it came on."""

_UNSENT_BYTES = 256 * 1024
"""The kernel's send buffer is this small so that the progress of a slow client is visible."""


class Connection(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: self}
        wire = transport.get_extra_info("socket")
        if sys.platform == "linux" and wire is not None:
            with contextlib.suppress(OSError):
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the client has not received."""
        waiting = self.transport.get_write_buffer_size()
        wire = self.transport.get_extra_info("socket")
        if sys.platform == "linux" and wire is not None:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                found = fcntl.ioctl(wire.fileno(), termios.TIOCOUTQ, bytes(4))
                waiting += cast(int, struct.unpack("i", found)[0])
        return waiting

    def close(self) -> None:
        """Abort the connection; what has not arrived is lost."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP; in the middle of a request, end it."""
        cycle: Any = self.cycle
        in_request = cycle is not None and not cycle.response_complete
        if in_request:  # its handler is told that the client has gone
            cycle.disconnected = True
            cycle.message_event.set()
        if not (in_request and cycle.response_started) and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            problem = Problem("http_malformed", f"{msg} Expected HTTP/1.1.")
            text = json.dumps(body_of(problem, "none")).encode()
            headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(text))), ("Connection", "close")]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
