"""What OpenAPI says about uploads, answers and problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from unmingle.service.http import examples
from unmingle.service.output.encoding import MEDIA_TYPES
from unmingle.service.output.package import KINDS
from unmingle.service.problems import KINDS as PROBLEMS
from unmingle.service.problems import MEDIA_TYPE, TYPE_PREFIX
from unmingle.service.schemas import ManifestWithAudio, ProblemBody, SeparateParameters

_BINARY = {"type": "string", "format": "binary"}


def _form_fields(parameters: type[BaseModel]) -> dict[str, Any]:
    """The parameters as form fields, which cannot be null."""
    fields: dict[str, Any] = parameters.model_json_schema()["properties"]
    for field in fields.values():
        if {"type": "null"} in field.get("anyOf", []):
            field["anyOf"].remove({"type": "null"})
        if field.get("type") == "boolean":  # in a form everything is text, and 0 and 1 are as good
            field["anyOf"] = [{"type": field.pop("type")}, {"enum": [0, 1]}]
    return fields


def upload_of(parameters: type[BaseModel]) -> dict[str, Any]:
    """A request with a recording and parameters."""
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {
                **_BINARY,
                "description": f"The recording: WAV, FLAC, Ogg or MP3 ({', '.join(MEDIA_TYPES.values())}).",
            },
            **_form_fields(parameters),
        },
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


UPLOAD = upload_of(SeparateParameters)

PNG: dict[str, Any] = {
    "description": "The picture.",
    "content": {"image/png": {"schema": _BINARY, "example": "\x89PNG..."}},
}

SOUND: dict[str, Any] = {
    "description": "The stem.",
    "content": {kind: {"schema": _BINARY, "example": "..."} for kind in MEDIA_TYPES.values()},
}

_MULTIPART_EXAMPLE = """--boundary\r
Content-Type: application/json\r
Content-Disposition: attachment; filename="manifest.json"\r
\r
{...}\r
--boundary\r
Content-Type: audio/wav\r
Content-Disposition: attachment; filename="stem_1.wav"\r
\r
RIFF...\r
--boundary--\r
"""

ANSWERS: dict[str, Any] = {
    "model": ManifestWithAudio,
    "description": "The stems, in the type that Accept asks for.",
    "content": {
        "application/zip": {"schema": _BINARY},
        "application/json": {"example": examples.MANIFEST.model_dump(mode="json")},
        "audio/wav": {"schema": _BINARY},
        "multipart/mixed": {"schema": _BINARY, "example": _MULTIPART_EXAMPLE},
    },
    "headers": {
        "Server-Timing": {"description": "Milliseconds by stage.", "schema": {"type": "string"}},
        "X-Request-ID": {"description": "As given, or made.", "schema": {"type": "string"}},
    },
}

NOT_MODIFIED: dict[str, Any] = {"description": "The client has it already: If-None-Match names its ETag."}

PART_OF_ANSWER: dict[str, Any] = {
    "description": "The part that Range asks for.",
    "content": {
        **{kind: {"schema": _BINARY} for kind in KINDS},
        "multipart/byteranges": {"schema": _BINARY, "example": "--boundary\r\nContent-Range: bytes 0-3/320044\r\n"},
    },
    "headers": {"Content-Range": {"description": "Which part of how much.", "schema": {"type": "string"}}},
}


def body(example: BaseModel, description: str, **more: Any) -> dict[str, Any]:
    """A response with a body in JSON, and an example of it."""
    content = {"application/json": {"example": example.model_dump(mode="json")}}
    return {"description": description, "content": content, **more}


def text(example: str, description: str) -> dict[str, Any]:
    """A response that is text, and an example of it."""
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}, "example": example}}}


EVENTS: dict[str, Any] = {
    "description": "Until it is finished.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "required": ["event", "data"],
                "properties": {"event": {"enum": ["status", "deleted"]}, "data": {"type": "string"}},
            },
            "example": f"event: status\ndata: {examples.DONE.model_dump_json()}\n\n",
        }
    },
}


# OpenAPI links: what can be done with a job, by `operationId`, with the id from the answer.
JOB_LINKS: dict[str, Any] = {
    "links": {
        name: {"operationId": operation, "parameters": {"job_id": "$response.body#/id"}}
        for name, operation in (
            ("state", "job_state"),
            ("events", "job_events"),
            ("manifest", "job_manifest"),
            ("result", "job_result"),
            ("delete", "delete_job"),
        )
    }
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses of these statuses, with an example of every problem that has one."""
    return {
        status: {
            "model": ProblemBody,
            "description": " ".join(kind.title for kind in PROBLEMS.values() if kind.status == status),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemBody"},
                    "examples": {
                        code: {
                            "value": {
                                "type": TYPE_PREFIX + code,
                                "title": kind.title,
                                "status": status,
                                "detail": kind.title,
                                "code": code,
                                "request_id": "5f1c8d0e9b7a4c32",
                            }
                        }
                        for code, kind in PROBLEMS.items()
                        if kind.status == status
                    },
                }
            },
        }
        for status in statuses
    }


def complete(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Make the document, and mend what FastAPI gets wrong: here, problems have one type, and nulls in examples stay."""
    document = app.openapi()
    for route in (
        route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    ):
        for method in route.methods or ():
            responses = document["paths"][route.path][method.lower()]["responses"]
            for status, given in route.responses.items():
                content = responses[str(status)].get("content", {})
                for media_type, media in given.get("content", {}).items():
                    content[media_type] |= {name: media[name] for name in ("example", "examples") if name in media}
                if MEDIA_TYPE in content:
                    responses[str(status)]["content"] = {MEDIA_TYPE: content[MEDIA_TYPE]}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
