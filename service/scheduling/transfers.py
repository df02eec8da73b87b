"""Uploads and downloads: how fast they move, and when a client is too slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_S = 20.0
"""Transfers are not judged by their speed before this."""

_YOUNG_S = 5.0
_FAST_BYTES_PER_S = 64 * 2**10


class Transfer:
    """One upload or download. Belongs to one event loop.

    Attributes:
        moved: bytes that have arrived.
        displaced: it has to make room for another one.
    """

    def __init__(self, stall_s: float, least_bytes_per_s: float, total: int = 0) -> None:
        """A transfer that begins now.

        Args:
            stall_s: longest time in which nothing may move.
            least_bytes_per_s: on average, after a grace period.
            total: bytes, as far as known; 0 where not.
        """
        self._stall_s, self._least_bytes_per_s, self._total = stall_s, least_bytes_per_s, total
        self._began = self._moved_at = time.monotonic()
        self._patience: asyncio.Timeout | None = None
        self.moved = 0
        self.displaced = False

    @property
    def bytes_per_s(self) -> float:
        """On average."""
        return self.moved / max(0.001, time.monotonic() - self._began)

    @property
    def left_s(self) -> float | None:
        """Seconds until it ends, at its speed; None if unknown."""
        if not self._total or not self.moved:
            return None
        return max(0, self._total - self.moved) / self.bytes_per_s

    @property
    def young(self) -> bool:
        """Whether it is too early to call it slow."""
        return time.monotonic() - self._began < _YOUNG_S

    @property
    def gives_way(self) -> bool:
        """Whether it may be displaced."""
        return not (self.displaced or self.young) and self.bytes_per_s < _FAST_BYTES_PER_S

    def note(self, moved: int) -> None:
        """So many bytes have arrived since the beginning."""
        if moved > self.moved:
            self.moved, self._moved_at = moved, time.monotonic()

    def fault(self) -> str | None:
        """Why the client is given up, if it is."""
        now = time.monotonic()
        if self.displaced:
            return "the server needs the place for somebody else"
        if now - self._moved_at >= self._stall_s:
            return f"nothing for {self._stall_s:g} s"
        grace = min(GRACE_S, self._stall_s)
        if now - self._began > grace + self.moved / self._least_bytes_per_s:
            return f"less than {self._least_bytes_per_s:g} bytes a second"
        return None

    def displace(self) -> None:
        """Make it give up its slot: code that waits under `patience` gets a TimeoutError."""
        self.displaced = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def patient(self, patience: asyncio.Timeout) -> Iterator[None]:
        """`displace` ends this timeout."""
        self._patience = patience
        try:
            yield
        finally:
            self._patience = None

    @property
    def patience_s(self) -> float:
        """How long to wait for the next bytes before asking for `fault`."""
        now = time.monotonic()
        grace = min(GRACE_S, self._stall_s)
        too_slow_at = self._began + grace + self.moved / self._least_bytes_per_s
        return max(0.01, min(self._moved_at + self._stall_s, too_slow_at) - now + 0.01)
