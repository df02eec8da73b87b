"""Places for requests that bring a recording, held from before its first byte until their answer is ready to go.

They bound what waits for the decoder and what lies on the disk before the engine, which knows nothing of a recording
until it is decoded, has its say. Who finds no place is refused before the upload is read: that costs next to nothing,
so a server that is offered more than it can do still does what it can. There are places as long as the last of those
who have one can expect its answer well within the deadline: work that comes too late is work for nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.problems import Problem

_BUSY = 3
"""With so many at work, the time from one answer to the next is what one more costs."""

_ALWAYS = 4
"""Places that there are however slow the server is: it learns its speed from them."""


@dataclasses.dataclass(eq=False)
class Place:
    """One request in hand.

    Attributes:
        at_work: its upload is there, and it waits for nothing but the server.
        answered: the work was not in vain.
    """

    at_work: bool = False
    answered: bool = False


class Places:
    """A bounded number of places, and of each owner's among them. Belongs to one event loop."""

    def __init__(self, most: int, most_per_owner: int, longest_s: float) -> None:
        """Make places.

        Args:
            most: how many, at the most.
            most_per_owner: how many for each that has a name.
            longest_s: there are fewer if the last one would have to wait for longer than this.
        """
        self._most, self._most_per_owner, self._longest_s = most, most_per_owner, longest_s
        self._owners: collections.Counter[str] = collections.Counter()
        self._places: set[Place] = set()
        self._held_s = 1.0
        self._each_s = 0.0
        self._last_answer_at: float | None = None
        self.closed = False
        """Whether no more are given out: the server ends, once those who have one have their answers."""

    @property
    def taken(self) -> int:
        """How many places are held."""
        return len(self._places)

    @contextmanager
    def place(self, owner: str) -> Iterator[Place]:
        """Hold a place.

        Raises:
            Problem: there are none any more, or all are taken, or the owner has as many as it may; with Retry-After.
        """
        if self.closed:
            wait = str(max(1, math.ceil(self._held_s)))
            raise Problem("not_ready", f"The server ends. Try again in {wait} s.", headers={"Retry-After": wait})
        if owner and self._owners[owner] >= self._most_per_owner:
            raise self._refused("key_busy", self._most_per_owner, "This API key has")
        most = self._most
        if self._each_s > 0:
            most = min(most, max(_ALWAYS, int(self._longest_s / self._each_s)))
        if self.taken >= most:
            raise self._refused("server_full", most, "The server has")
        place, start = Place(), time.monotonic()
        self._owners[owner] += 1
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.remove(place)
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]
            self._held_s += 0.1 * (time.monotonic() - start - self._held_s)
            if place.at_work:
                self._learn(place.answered)

    def _learn(self, answered: bool) -> None:
        """One has left: how long was it since the one before, if there was enough to do all the time?"""
        now = time.monotonic()
        if answered and self._last_answer_at is not None:
            each_s = now - self._last_answer_at
            self._each_s += (0.2 if self._each_s else 1.0) * (each_s - self._each_s)
        still_busy = sum(place.at_work for place in self._places) >= _BUSY - 1
        if not still_busy:
            self._last_answer_at = None
        elif answered:
            self._last_answer_at = now

    def _refused(self, code: str, limit: int, who: str) -> Problem:
        wait = str(max(1, math.ceil(self._held_s)))  # so long a place is held of late
        return Problem(
            code,
            f"{who} {limit} recordings in hand already, and takes no more at a time. Try again in {wait} s.",
            extra={"limit": limit, "unit": "recordings"},
            headers={"Retry-After": wait},
        )
