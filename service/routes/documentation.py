"""What OpenAPI says about uploads, answers and problems."""

from __future__ import annotations

from typing import Any

from service.encoding import MEDIA_TYPES
from service.package import KINDS
from service.problems import KINDS as PROBLEMS
from service.problems import MEDIA_TYPE, TYPE_PREFIX
from service.schemas import ProblemBody, SeparateParameters

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": f"The recording: WAV, FLAC, Ogg or MP3 ({', '.join(MEDIA_TYPES.values())}).",
                        },
                        **SeparateParameters.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}

ANSWERS: dict[str, Any] = {
    "description": "The stems, in the type that Accept asks for.",
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS if kind != "application/json"
    }
    | {"application/json": {"schema": {"type": "object"}}},
    "headers": {
        "Server-Timing": {"description": "Milliseconds by stage.", "schema": {"type": "string"}},
        "X-Request-ID": {"description": "As given, or made.", "schema": {"type": "string"}},
    },
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
