"""Sends an answer as fast as its client takes it, and gives up on clients that hardly take anything."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope, Send

from unmingle.service.http.protocol import CONNECTION, Connection
from unmingle.service.http.uploads import UploadLimits
from unmingle.service.scheduling.transfers import Transfer

LEASE = "lease"
"""Where `scope["state"]` has the lease that the answer belongs to, if it has one."""

SENDING = "sending"
"""Where `scope["state"]` has the PacedSend of the request."""

_LOOK_S, _TAKEN_LOOK_S = 1.0, 0.02


class PacedSend:
    """ASGI's `send` for one request.

    The kernel tells how much the client has received: what is written to a socket may stay in its buffer for minutes.
    This distinguishes a slow but steady client from one that has stopped.
    """

    def __init__(self, scope: Scope, send: Send, limits: UploadLimits) -> None:
        self._state, self._send, self._limits = scope["state"], send, limits
        self._state[SENDING] = self
        self._connection: Connection | None = self._state.get(CONNECTION)
        self._transfer: Transfer | None = None
        self._sent = 0

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._connection is not None and self._connection.gone

    def break_off(self) -> None:
        """End the connection, so that what was sent cannot be taken for the whole answer."""
        if self._connection is not None:
            self._connection.close()

    async def __call__(self, message: Message) -> None:
        """Send one message.

        Raises:
            ClientDisconnect: the client has left, or is given up.
        """
        if self.gone:
            raise ClientDisconnect
        if message["type"] == "http.response.start":
            announced = Headers(raw=message["headers"]).get("content-length")
            if announced is not None:  # other answers, such as event streams, have no known length
                self._transfer = Transfer(self._limits.stall_s, self._limits.least_bytes_per_s, int(announced))
                if (lease := self._state.get(LEASE)) is not None:
                    lease.transfer = self._transfer
        if self._transfer is None or self._connection is None:
            try:
                async with asyncio.timeout(self._limits.stall_s):
                    await self._send(message)
            except TimeoutError as error:
                raise ClientDisconnect from error
            return
        await self._send_paced(message, self._transfer, self._connection)

    async def taken(self) -> None:
        """Wait until the client has taken what was sent.

        Raises:
            ClientDisconnect: it has left, or is given up.
        """
        transfer, connection = self._transfer, self._connection
        while transfer is not None and connection is not None and (unsent := connection.unsent_bytes):
            if self.gone:
                raise ClientDisconnect
            transfer.note(self._sent - unsent)
            if transfer.fault():
                raise ClientDisconnect
            await asyncio.sleep(_TAKEN_LOOK_S)

    async def _send_paced(self, message: Message, transfer: Transfer, connection: Connection) -> None:
        while True:
            try:
                # uvicorn waits before it writes anything, so a cancelled call can be repeated.
                async with asyncio.timeout(min(_LOOK_S, transfer.patience_s)) as patience:
                    with transfer.patient(patience):
                        await self._send(message)
                break
            except TimeoutError as error:
                transfer.note(self._sent - connection.unsent_bytes)
                if transfer.fault():
                    raise ClientDisconnect from error
        self._sent += len(message.get("body", b""))
        if transfer.displaced:
            raise ClientDisconnect
        transfer.note(self._sent - connection.unsent_bytes)
