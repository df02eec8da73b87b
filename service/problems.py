"""Every way a request can fail: one table, error code -> status and problem body (RFC 9457)."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from unmingle.model.errors import AudioError, FileError, InputError, LimitError, ParameterError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:unmingle:problem:"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One row of the table."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "http_malformed": Kind(400, "The request is not HTTP."),
    "host_unknown": Kind(421, "The request is for a host that this server is not."),
    "origin_forbidden": Kind(403, "Web pages of this origin may not send requests here."),
    "not_found": Kind(404, "There is nothing at this address."),
    "method_not_allowed": Kind(405, "This address does not take this method."),
    "multipart_expected": Kind(415, "The body is not multipart/form-data."),
    "multipart_malformed": Kind(400, "The multipart body cannot be read."),
    "too_many_parts": Kind(400, "The form has more parts than it may have."),
    "file_missing": Kind(422, "The form has no field 'file'."),
    "file_empty": Kind(422, "The uploaded file is empty."),
    "upload_stalled": Kind(408, "The upload came too slowly, or not any more."),
    "upload_too_large": Kind(413, "The request body is larger than the limit."),
    "format_unsupported": Kind(415, "The file is not in an audio format that this server reads."),
    "audio_unreadable": Kind(422, "The file cannot be decoded."),
    "audio_unusable": Kind(422, "The recording cannot be separated."),
    "too_many_channels": Kind(422, "The recording has more channels than the limit."),
    "sample_rate_unsupported": Kind(422, "The recording's sample rate is outside the range that this server takes."),
    "recording_too_long": Kind(413, "The recording is longer than the limit."),
    "recording_too_large": Kind(413, "The recording is larger than the limit once decoded."),
    "decoding_too_costly": Kind(413, "Decoding the file takes more time or memory than the limit."),
    "limit_exceeded": Kind(413, "The request is larger than a limit."),
    "parameter_invalid": Kind(422, "A parameter is not valid."),
    "job_unknown": Kind(404, "There is no such job."),
    "recording_unknown": Kind(404, "There is no such recording."),
    "separation_unknown": Kind(404, "There is no such separation."),
    "job_not_done": Kind(409, "The job is not done yet."),
    "job_failed": Kind(409, "The job failed."),
    "idempotency_conflict": Kind(422, "The Idempotency-Key was used for another request."),
    "model_unknown": Kind(422, "This server does not have that model."),
    "range_not_satisfiable": Kind(416, "Range asks for what is not there."),
    "not_acceptable": Kind(406, "The answer cannot be had in any type that Accept asks for."),
    "too_large_for_json": Kind(413, "The stems are too large to be sent as JSON."),
    "not_ready": Kind(503, "The server is starting, stopping, or its engine does not run."),
    "key_busy": Kind(429, "This API key has as much work in the queue as it may have."),
    "rate_limited": Kind(429, "This API key sends requests faster than it may."),
    "unauthorised": Kind(401, "An API key is needed."),
    "server_full": Kind(503, "The server has as much work as it takes."),
    "worker_lost": Kind(503, "The process that separates ended while it had the recording, twice."),
    "deadline_exceeded": Kind(503, "The answer was not ready within the deadline."),
    "disk_full": Kind(507, "The server has no disk space left for this request."),
    "internal": Kind(500, "The server failed; the fault is not in the request."),
}


class UnavailableError(OSError):
    """What the server keeps its jobs in, and which is not a part of it, does not respond now."""


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """A request fails with a row of the table.

    Attributes:
        code: key of KINDS.
        detail: what was wrong here, what is expected, what to do; for the client's eyes.
        extra: further members of the problem body, such as the limit that was hit.
        headers: of the response, such as Retry-After.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail
        self.extra, self.headers = dict(extra or {}), dict(headers or {})

    @property
    def status(self) -> int:
        """HTTP status."""
        return KINDS[self.code].status


def from_exception(error: BaseException) -> Problem:  # noqa: PLR0911 (a table)
    """The problem for an exception; unexpected ones reveal nothing about the server's internals."""
    match error:
        case Problem():
            return error
        case ValidationError():
            return invalid_parameters(error.errors())
        case ParameterError():
            return Problem("parameter_invalid", str(error))
        case LimitError():
            return Problem("limit_exceeded", str(error))
        case FileError():
            return Problem(error.code, str(error), extra=error.facts)
        case AudioError() | InputError():
            return Problem("audio_unusable", str(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            return Problem("disk_full", "The server's disk is full. Try again later, or with a smaller recording.")
        case UnavailableError():
            return Problem(
                "not_ready",
                "The server cannot reach what it keeps jobs or files in. Try again in 5 s.",
                headers={"Retry-After": "5"},
            )
        case _:
            return Problem("internal", "An unexpected error. The server's log has it under the request id.")


def invalid_parameters(found: Iterable[Mapping[str, Any]]) -> Problem:
    """The problem for errors that pydantic found."""
    by_parameter: dict[str, list[Mapping[str, Any]]] = {}
    for item in found:
        place = [str(part) for part in item["loc"] if part not in ("query", "body", "path", "header")]
        # A parameter that may be of several types has an error for each.
        by_parameter.setdefault(place[0] if place else "", []).append(item)
    errors = [
        {
            "parameter": name,
            "message": "; or: ".join(item["msg"] for item in items),
            "given": items[0]["input"] if isinstance(items[0].get("input"), str | int | float | None) else None,
        }
        for name, items in by_parameter.items()
    ]
    detail = "; ".join(f"{item['parameter']}={item['given']}: {item['message']}" for item in errors)
    return Problem("parameter_invalid", f"{detail}.", extra={"errors": errors})


def body_of(problem: Problem, request_id: str) -> dict[str, Any]:
    """The problem as RFC 9457 has it."""
    kind = KINDS[problem.code]
    return {
        "type": TYPE_PREFIX + problem.code,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
        **problem.extra,
    }
