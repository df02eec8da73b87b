"""Whether the engine takes more work now: refusals that say why and when to come back."""

from __future__ import annotations

import dataclasses
import math

from unmingle.service.problems import Problem
from unmingle.service.scheduling.work_queue import WorkQueue


@dataclasses.dataclass(frozen=True)
class EngineLimits:
    """How much work the engine accepts."""

    workers: int
    max_seconds: float
    """Seconds of audio that may wait or run."""
    max_bytes: int
    """Decoded audio that may wait or run."""
    max_per_owner: int
    """Recordings of one owner that may wait or run."""


class Admission:
    """Compares a queue with its limits."""

    def __init__(self, queue: WorkQueue, limits: EngineLimits) -> None:
        self._queue, self._limits = queue, limits

    def check(self, owner: str, audio_seconds: float, audio_bytes: int, timeout_s: float | None) -> None:
        """Say whether such work would be taken now.

        Raises:
            Problem: full, or with so much to do that the deadline would pass; with Retry-After.
        """
        timeout_s = math.inf if timeout_s is None else timeout_s
        seconds, limits = self._queue.audio_seconds, self._limits
        if owner and self._queue.count(owner) >= limits.max_per_owner:
            raise Problem(
                "key_busy",
                f"{limits.max_per_owner} recordings of this API key wait or run; expected no more at a time.",
                extra={"limit": limits.max_per_owner},
                headers={"Retry-After": self.retry_after(seconds)},
            )
        if seconds + audio_seconds > limits.max_seconds and seconds > 0:
            raise self._full(seconds + audio_seconds - limits.max_seconds, limits.max_seconds, "s of audio")
        if (held := self._queue.audio_bytes) + audio_bytes > limits.max_bytes and held > 0:
            raise self._full(seconds, limits.max_bytes, "bytes of decoded audio")
        factor = self._queue.real_time_factor
        late = (seconds + audio_seconds) * factor - timeout_s
        if late > 0:
            if seconds == 0:
                raise Problem(
                    "recording_too_long",
                    f"The recording lasts {audio_seconds:.0f} s, and this server would need longer than the "
                    f"{timeout_s:g} s that a request may take. Send it to /jobs instead, or cut it into parts.",
                    extra={"limit": timeout_s, "unit": "s"},
                )
            raise self._full(late / factor, timeout_s, "s until the answer")

    def late(self, timeout_s: float | None) -> Problem:
        """The problem of work whose deadline passed."""
        return Problem(
            "deadline_exceeded",
            f"The answer was not ready within {timeout_s:g} s.",
            extra={"limit": timeout_s, "unit": "s"},
            headers={"Retry-After": self.retry_after(self._queue.audio_seconds)},
        )

    def retry_after(self, audio_seconds: float) -> str:
        """Whole seconds, at least one, until so much audio is done."""
        return str(max(1, math.ceil(audio_seconds * self._queue.real_time_factor)))

    def _full(self, audio_seconds: float, limit: float, unit: str) -> Problem:
        retry_after = self.retry_after(audio_seconds)
        return Problem(
            "server_full",
            f"The server has as much work as it takes ({limit:g} {unit}). Try again in {retry_after} s.",
            extra={"limit": limit, "unit": unit},
            headers={"Retry-After": retry_after},
        )
