"""Slots for requests that bring a recording, held from before its first byte until the answer is ready to go.

They bound what waits for the decoder and what lies on the disk before the engine, which knows nothing of a recording
until it is decoded, can judge. A request that finds no slot is refused before its upload is read. That costs next to
nothing, so a server that is offered more than it can do still does what it can. The number of slots shrinks when the
last holder could not expect its answer well within the deadline: work that comes too late is wasted.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from unmingle.service.problems import Problem

_BUSY = 3
"""With so many at work, the time from one answer to the next is what one more costs."""

_ALWAYS = 4
"""Slots that there are however slow the server is: it learns its speed from them."""


@dataclasses.dataclass(eq=False)
class Slot:
    """One request in hand.

    Attributes:
        at_work: its upload is there, and it waits for nothing but the server.
        answered: the work was not in vain.
    """

    at_work: bool = False
    answered: bool = False


class RequestSlots:
    """A bounded number of slots, and of each owner's among them. Belongs to one event loop."""

    def __init__(self, most: int, most_per_owner: int, longest_s: float) -> None:
        """Make the slots.

        Args:
            most: how many, at the most.
            most_per_owner: how many for each that has a name.
            longest_s: there are fewer if the last one would have to wait for longer than this.
        """
        self._most, self._most_per_owner, self._longest_s = most, most_per_owner, longest_s
        self._owners: collections.Counter[str] = collections.Counter()
        self._slots: set[Slot] = set()
        self._held_s = 1.0
        self._each_s = 0.0
        self._last_answer_at: float | None = None
        self.closed = False
        """Whether no more are given out: the server ends, once those who have one have their answers."""

    @property
    def taken(self) -> int:
        """How many slots are held."""
        return len(self._slots)

    @contextmanager
    def hold(self, owner: str) -> Iterator[Slot]:
        """Hold a slot.

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
        slot, start = Slot(), time.monotonic()
        self._owners[owner] += 1
        self._slots.add(slot)
        try:
            yield slot
        finally:
            self._slots.remove(slot)
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]
            self._held_s += 0.1 * (time.monotonic() - start - self._held_s)
            if slot.at_work:
                self._learn(slot.answered)

    def _learn(self, answered: bool) -> None:
        """One has left: how long was it since the one before, if there was enough to do all the time?"""
        now = time.monotonic()
        if answered and self._last_answer_at is not None:
            each_s = now - self._last_answer_at
            self._each_s += (0.2 if self._each_s else 1.0) * (each_s - self._each_s)
        still_busy = sum(slot.at_work for slot in self._slots) >= _BUSY - 1
        if not still_busy:
            self._last_answer_at = None
        elif answered:
            self._last_answer_at = now

    def _refused(self, code: str, limit: int, who: str) -> Problem:
        wait = str(max(1, math.ceil(self._held_s)))  # so long a slot is held of late
        return Problem(
            code,
            f"{who} {limit} recordings in hand already, and takes no more at a time. Try again in {wait} s.",
            extra={"limit": limit, "unit": "recordings"},
            headers={"Retry-After": wait},
        )
