"""What every request with a recording goes through: capacity, then the upload, then its parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastapi import Request

from unmingle.service.http import uploads
from unmingle.service.http.parameters import with_fields
from unmingle.service.http.state import ServiceState
from unmingle.service.http.uploads import Upload, UploadLimits
from unmingle.service.scheduling.capacity import Lease
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import SeparateParameters


@dataclasses.dataclass(frozen=True)
class Received:
    """A request that has been received completely.

    Attributes:
        upload: the file as it came, and the form's other fields.
        directory: holds it, and is empty otherwise.
        parameters: how to separate.
    """

    upload: Upload
    directory: Path
    parameters: SeparateParameters


async def receive(
    request: Request,
    query: SeparateParameters,
    service: ServiceState,
    limits: UploadLimits,
    lease: Lease,
    space: Resource,
    directory: Path,
) -> Received:
    """Take the upload into `directory`; the lease has room for what is announced of it.

    Raises:
        Problem: the body is not a recording with valid parameters, or the model cannot do what is asked for.
        ClientDisconnect: the client went away.
    """
    upload = await uploads.receive(request, directory / "upload", limits, lease, space)
    parameters = with_fields(query, upload.fields, service.pipeline.model)
    service.pipeline.abilities.check(parameters.options)
    return Received(upload, directory, parameters)
