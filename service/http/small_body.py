"""Request bodies that are a little JSON: read within a limit and in time, and checked."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from unmingle.service.problems import Problem
from unmingle.service.schemas import Selection, SeparationRequest

MAX_BYTES = 64 * 1024

T = TypeVar("T", bound=BaseModel)


async def read_json(request: Request, kind: type[T], timeout_s: float) -> T:
    """The body of a request.

    Raises:
        Problem: it is too large, or does not come.
        ValidationError: it is not what is expected.
        ClientDisconnect: the client went away.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise Problem(
                        "upload_too_large",
                        f"The request body is larger than {MAX_BYTES} bytes.",
                        extra={"limit": MAX_BYTES, "unit": "bytes"},
                        headers={"Connection": "close"},
                    )
    except TimeoutError as error:
        raise Problem(
            "upload_stalled", f"The body did not come within {timeout_s:g} s.", headers={"Connection": "close"}
        ) from error
    try:
        given = json.loads(content)
    except ValueError as error:
        raise Problem("parameter_invalid", f"The body is not JSON: {error}.") from error
    return kind.model_validate(given)


def _schema() -> dict[str, Any]:
    schema = SeparationRequest.model_json_schema()
    schema.pop("$defs", None)
    schema["properties"]["selection"] = {"anyOf": [Selection.model_json_schema(), {"type": "null"}]}
    return schema


SEPARATION_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _schema(), "example": {"num_sources": 2}}},
    }
}
