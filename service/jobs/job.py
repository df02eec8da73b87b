"""A job, as the database has it."""

from __future__ import annotations

import dataclasses
from typing import Any

from unmingle.service.schemas import JobState

UNFINISHED: tuple[JobState, ...] = ("queued", "running")


@dataclasses.dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        id: unguessable.
        owner: name of the API key that it came with.
        state: queued, running, done or failed.
        created: seconds since 1970.
        age_s: seconds since it finished, counted while a server runs; clocks that jump do not change it.
        attempts: how often it was started without finishing.
        audio_seconds: length of the recording, where known yet.
        parameters: how to separate, as JSON.
        fingerprint: hash of the upload and the parameters.
        idempotency_key: the client's name for the request.
        problem: why it failed: code, status and detail.
        server: the server that runs it, or did so last.
        run: how often it was claimed. Only the holder of the latest run may finish the job (a fencing token).
        progress: 0 to 1, as the server that runs it last said.
        stored_bytes: size of its upload; of its stems, once it is done.
        traceparent: of the request that it came with, where traces are recorded.
    """

    id: str
    owner: str
    state: JobState
    created: float
    age_s: float
    attempts: int
    audio_seconds: float | None
    parameters: str
    fingerprint: str
    idempotency_key: str | None
    problem: dict[str, Any] | None
    server: str | None
    run: int
    progress: float
    stored_bytes: int
    traceparent: str | None


@dataclasses.dataclass(frozen=True)
class Standing:
    """How a job stands: the part of a row that other servers follow."""

    id: str
    owner: str
    state: JobState
    server: str | None
    run: int
    progress: float
    stored_bytes: int
