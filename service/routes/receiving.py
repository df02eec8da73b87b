"""The way in that all requests with a recording take: is there room, then the upload, then its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import Request

from service import upload
from service.places import Place
from service.routes.parameters import with_fields
from service.schemas import SeparateParameters
from service.state import ServiceState


@dataclasses.dataclass(frozen=True)
class Received:
    """A request that is all there.

    Attributes:
        upload: the file as it came.
        directory: holds it, and is empty otherwise.
        parameters: how to separate.
        place: what it holds.
    """

    upload: Path
    directory: Path
    parameters: SeparateParameters
    place: Place


@asynccontextmanager
async def receive(
    request: Request,
    query: SeparateParameters,
    service: ServiceState,
    caller: str,
    max_bytes: int,
    answer: AsyncExitStack,
) -> AsyncIterator[Received]:
    """Hold a place for a request and take its upload; the directory stays until `answer` is closed.

    Raises:
        Problem: all places are taken, or the body is not a recording with valid parameters.
        ClientDisconnect: the client went away.
    """
    with service.places.place(caller) as place:
        directory = await answer.enter_async_context(service.scratch())
        received = await upload.receive(request, directory / "upload", max_bytes, service.settings.client_timeout_s)
        parameters = with_fields(query, received.fields, service.pipeline.model)
        yield Received(received.path, directory, parameters, place)
