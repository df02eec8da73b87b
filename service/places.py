"""Places for requests that bring a recording, held from before its first byte until their answer is ready to go.

They bound what waits for the decoder and what lies on the disk before the engine, which knows nothing of a recording
until it is decoded, has its say. Who finds no place is refused before the upload is read: that costs next to nothing,
so a server that is offered more than it can do still does what it can.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.problems import Problem

_FIRST_GUESS_S = 1.0


class Places:
    """A bounded number of places, and of each owner's among them. Belongs to one event loop."""

    def __init__(self, most: int, most_per_owner: int) -> None:
        """Make `most` places; those with an owner get no more than `most_per_owner` each."""
        self._most, self._most_per_owner = most, most_per_owner
        self._owners: collections.Counter[str] = collections.Counter()
        self._held_s = _FIRST_GUESS_S

    @property
    def taken(self) -> int:
        """How many places are held."""
        return self._owners.total()

    @contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """Hold a place.

        Raises:
            Problem: all are taken, or the owner has as many as it may; with Retry-After.
        """
        if owner and self._owners[owner] >= self._most_per_owner:
            raise self._refused("key_busy", self._most_per_owner, "This API key has")
        if self.taken >= self._most:
            raise self._refused("server_full", self._most, "The server has")
        self._owners[owner] += 1
        start = time.monotonic()
        try:
            yield
        finally:
            self._held_s += 0.1 * (time.monotonic() - start - self._held_s)
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    def _refused(self, code: str, limit: int, who: str) -> Problem:
        wait = str(max(1, math.ceil(self._held_s)))  # so long a place is held of late
        return Problem(
            code,
            f"{who} {limit} recordings in hand already, and takes no more at a time. Try again in {wait} s.",
            extra={"limit": limit, "unit": "recordings"},
            headers={"Retry-After": wait},
        )
