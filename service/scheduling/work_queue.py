"""What waits, what runs, what is next, and what a second of audio costs. The engine does the locking."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterator, Mapping

from unmingle.service.scheduling.work import Lane, Ticket

LONG_S = 30.0
"""Recordings longer than this never take all workers, so that a short one only waits for short ones."""

_TELLING_S = 1.0
"""Recordings shorter than this tell more about the overhead than about the speed."""


class WorkQueue:
    """One queue with a few lanes: first come, first served in each, but long requests get half of their places at most.

    Jobs have places of their own, so an hour of audio does not keep short requests waiting.
    """

    def __init__(self, workers: Mapping[Lane, int]) -> None:
        self._workers = workers
        self._for_long = max(1, workers["requests"] // 2)
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._running: list[Ticket] = []
        self._counted_until = 0.0
        self.real_time_factor = 1.0
        """Processing seconds per second of audio, of late; where several run at once, each counts its share."""

    def __iter__(self) -> Iterator[Ticket]:
        return iter((*self._running, *self._waiting))

    def waiting(self, lane: Lane) -> int:
        """Recordings that wait."""
        return sum(ticket.work.lane == lane for ticket in tuple(self._waiting))

    def running(self, lane: Lane) -> int:
        """Recordings that are being separated."""
        return sum(ticket.work.lane == lane for ticket in tuple(self._running))

    def audio_seconds(self, lane: Lane) -> float:
        """Of all that waits or runs."""
        return sum(ticket.work.audio_seconds for ticket in self if ticket.work.lane == lane)

    def add(self, ticket: Ticket) -> None:
        """Add work."""
        self._waiting.append(ticket)

    def again(self, ticket: Ticket) -> None:
        """Work whose worker was lost has its turn again, before the others."""
        self._running.remove(ticket)
        ticket.suspect, ticket.charged_s = True, 0.0
        self._waiting.appendleft(ticket)

    def give_up(self, ticket: Ticket) -> None:
        """Remove work that waits."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)

    def begin(self, now: float, in_hand: Collection[Ticket] = ()) -> Ticket | None:
        """The next one to run, which runs from now on with a worker that has others `in_hand`; None where none may.

        Only one that may have killed its worker is with a worker at a time, so that the guilty one takes no other with
        it twice. And only one part of a recording is, as one after the other is as fast, and other workers may come.
        """
        self._charge(now)
        suspects = not any(ticket.suspect for ticket in in_hand)
        parts = not any(ticket.work.lane == "parts" for ticket in in_hand)
        for ticket in tuple(self._waiting):
            if not self._may_run(ticket) or (ticket.suspect and not suspects):
                continue
            if ticket.work.lane == "parts" and not parts:
                continue
            self._waiting.remove(ticket)
            if not ticket.result.done():
                ticket.queued_s = now - ticket.submitted
                self._running.append(ticket)
                return ticket
        return None

    def _may_run(self, ticket: Ticket) -> bool:
        lane = ticket.work.lane
        if lane in ("jobs", "parts") and ticket.suspect and self._suspects_wait():
            return False  # an hour of audio is no company for those whose clients wait
        if lane == "parts":
            return True
        beside = [other.work for other in self._running if other.work.lane == lane]
        if len(beside) >= self._workers[lane]:
            return False
        if lane != "requests" or ticket.work.audio_seconds <= LONG_S:
            return True
        return sum(work.audio_seconds > LONG_S for work in beside) < self._for_long

    def _suspects_wait(self) -> bool:
        return any(ticket.suspect and ticket.work.lane not in ("jobs", "parts") for ticket in self._waiting)

    def end(self, ticket: Ticket, now: float, complete: bool) -> None:
        """It has run; `complete` where its time tells what its audio costs."""
        self._charge(now)
        self._running.remove(ticket)
        if complete and ticket.work.audio_seconds > _TELLING_S:
            factor = ticket.charged_s / ticket.work.audio_seconds
            self.real_time_factor += 0.2 * (factor - self.real_time_factor)

    def empty(self) -> tuple[Ticket, ...]:
        """Remove and return everything that waits or runs."""
        tickets = tuple(self)
        self._waiting.clear()
        return tickets

    def _charge(self, now: float) -> None:
        """Divide the time that has passed among those that run, since they shared the processor."""
        separating = [ticket for ticket in self._running if ticket.work.lane in ("requests", "jobs", "parts")]
        for ticket in separating:
            ticket.charged_s += (now - self._counted_until) / len(separating)
        self._counted_until = now
