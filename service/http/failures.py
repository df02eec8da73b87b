"""What the web framework raises -> problems, and problems -> responses."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unmingle.service.problems import MEDIA_TYPE, Problem, body_of, from_exception, invalid_parameters


def problem_of(error: BaseException) -> Problem:
    """The problem for an exception, whoever raised it."""
    match error:
        case RequestValidationError():
            return invalid_parameters(error.errors())
        case HTTPException(status_code=404):
            return Problem("not_found", "No such address; /openapi.json lists all.")
        case HTTPException(status_code=405):
            return Problem(
                "method_not_allowed", "Another method is expected; see the Allow header.", headers=error.headers
            )
        case _:
            return from_exception(error)


def response(problem: Problem, request_id: str) -> JSONResponse:
    """The problem as an HTTP response."""
    return JSONResponse(body_of(problem, request_id), problem.status, problem.headers, MEDIA_TYPE)
