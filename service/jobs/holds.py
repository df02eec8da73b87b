"""Jobs on hold: what they lack (disk space, or their files) may be there later, so they are tried again and again."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

_FIRST_S, _LONGEST_S = 2.0, 60.0


@dataclasses.dataclass(frozen=True)
class _Hold:
    """Times are of time.monotonic()."""

    since: float
    until: float
    wait_s: float
    problem: dict[str, Any]


class Holds:
    """The jobs of one server that are on hold. Belongs to one event loop."""

    def __init__(self, longest_s: float) -> None:
        """Args: longest_s: how long a job may be on hold, all tries together."""
        self._longest_s = longest_s
        self._holds: dict[str, _Hold] = {}

    def __bool__(self) -> bool:
        return bool(self._holds)

    def put(self, job_id: str, problem: dict[str, Any]) -> bool:
        """Put a job on hold, each time for longer; False where it was for as long as it may be."""
        now, before = time.monotonic(), self._holds.get(job_id)
        since, wait_s = (before.since, min(2 * before.wait_s, _LONGEST_S)) if before else (now, _FIRST_S)
        self._holds[job_id] = _Hold(since, now + wait_s, wait_s, problem)
        return now - since <= self._longest_s

    def end(self, job_id: str) -> None:
        """The job has finished, or is deleted."""
        self._holds.pop(job_id, None)

    def waiting(self) -> set[str]:
        """Jobs that are not to be tried yet."""
        now = time.monotonic()
        return {job_id for job_id, hold in self._holds.items() if hold.until > now}

    def problem(self, job_id: str) -> dict[str, Any] | None:
        """What the job lacks, if it is on hold."""
        return self._holds[job_id].problem if job_id in self._holds else None
