"""The way in that all requests with a recording take: is there room, then the upload, then its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import Request

from unmingle.service.http import uploads
from unmingle.service.http.parameters import with_fields
from unmingle.service.http.state import ServiceState
from unmingle.service.scheduling.request_slots import Slot
from unmingle.service.schemas import SeparateParameters


@dataclasses.dataclass(frozen=True)
class Received:
    """A request that is all there.

    Attributes:
        upload: the file as it came.
        directory: holds it, and is empty otherwise.
        parameters: how to separate.
        slot: what it holds.
    """

    upload: Path
    directory: Path
    parameters: SeparateParameters
    slot: Slot


@asynccontextmanager
async def receive(
    request: Request,
    query: SeparateParameters,
    service: ServiceState,
    caller: str,
    max_bytes: int,
    answer: AsyncExitStack,
) -> AsyncIterator[Received]:
    """Hold a slot for a request and take its upload; the directory stays until `answer` is closed.

    Raises:
        Problem: all slots are taken, or the body is not a recording with valid parameters.
        ClientDisconnect: the client went away.
    """
    with service.request_slots.hold(caller) as slot:
        directory = await answer.enter_async_context(service.scratch())
        received = await uploads.receive(request, directory / "upload", max_bytes, service.settings.client_timeout_s)
        parameters = with_fields(query, received.fields, service.pipeline.model)
        yield Received(received.path, directory, parameters, slot)
