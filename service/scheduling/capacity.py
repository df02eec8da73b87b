"""The ledger of capacity: who holds how much of what, and whether there is more.

A lease belongs to one request, job, download or stream. It is raised as facts become known (the announced upload, what
really arrives, the decoded recording, the stems to come) and ends when the last byte of the answer is sent. limits.py
has the table of what can be held and how a refusal reads.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from unmingle.service.problems import Problem
from unmingle.service.scheduling.answer_rate import AnswerRate
from unmingle.service.scheduling.limits import LIMITS, Limit, Resource
from unmingle.service.scheduling.transfers import Transfer

_LONGEST_WAIT_S = 3600.0
_UNKNOWN_S = 30.0
_SENT_AT_ONCE_S = 1.0


@dataclasses.dataclass(frozen=True)
class Capacity:
    """How much there is, by resource; what is not named has no limit."""

    of_server: Mapping[Resource, float]
    of_key: Mapping[Resource, float]


class Lease:
    """What one request, job, download or stream holds.

    Attributes:
        owner: name of its API key; empty where there are none.
        at_work: its upload is there, and it waits for nothing but the server.
        answered: the work was not in vain.
        transfer: of its upload or answer, while that is under way.
    """

    def __init__(self, ledger: Ledger, owner: str) -> None:
        self._ledger, self.owner = ledger, owner
        self.held: dict[Resource, float] = {}
        self.at_work = self.answered = False
        self.transfer: Transfer | None = None
        self._at_work_since = time.monotonic()

    def take(self, resource: Resource, amount: float = 1.0) -> None:
        """Hold `amount` of a resource from now on, in place of what was held of it before.

        Raises:
            Problem: there is not so much left, or the key has its share; with Retry-After.
        """
        if amount > self.held.get(resource, 0.0):
            self._ledger.check(self, resource, amount)
        self.put(resource, amount)

    def put(self, resource: Resource, amount: float = 1.0) -> None:
        """`take`, without asking: what is there already cannot be refused."""
        self._ledger.book(self, resource, amount)

    def drop(self, *resources: Resource) -> None:
        """Hold none of these any more."""
        for resource in resources:
            self._ledger.book(self, resource, 0.0)

    def end(self) -> None:
        """Hold nothing any more."""
        self.stems_are_there()
        self.drop(*self.held)

    def uploaded(self) -> None:
        """The upload is complete; the recording is in work, also if there is no room: it was let in before."""
        self.transfer = None
        self.drop(Resource.UPLOADS)
        self.put(Resource.REQUESTS)
        self.at_work, self._at_work_since = True, time.monotonic()

    def stems_are_there(self) -> None:
        """The work is done, or has come to nothing."""
        if Resource.REQUESTS in self.held:
            self.drop(Resource.REQUESTS, Resource.AUDIO_SECONDS, Resource.AUDIO_BYTES)
            if self.at_work:
                self._ledger.left(self, time.monotonic() - self._at_work_since)
        self.at_work = False

    @property
    def lets_go(self) -> bool:
        """Whether its upload is so slow that others may use its place in the meantime."""
        return self.transfer is not None and not self.at_work and not self.transfer.young


class Ledger:
    """All leases of a server. Belongs to one event loop; other threads may read the sums."""

    def __init__(self, capacity: Capacity, rate: AnswerRate) -> None:
        self._capacity, self._rate = capacity, rate
        self._sums: collections.defaultdict[Resource, float] = collections.defaultdict(float)
        self._sums_of_keys: collections.defaultdict[tuple[str, Resource], float] = collections.defaultdict(float)
        self._leases: dict[Lease, None] = {}
        self.closed = False
        """Whether nothing new is let in: the server ends, once those inside have their answers."""
        self.seconds_per_audio_second: Callable[[], float] = lambda: 1.0
        """Told by the engine."""
        self.first_job_s: Callable[[], float] = lambda: _UNKNOWN_S
        """Told by the jobs: until the first of them is done."""

    def held(self, resource: Resource) -> float:
        """How much of a resource is held by all."""
        return self._sums.get(resource, 0.0)

    def limit(self, resource: Resource) -> float:
        """How much there is of a resource, for the whole server."""
        most = self._capacity.of_server.get(resource, math.inf)
        return self._rate.most(most) if resource is Resource.REQUESTS else most

    def limit_of_key(self, resource: Resource) -> float:
        """How much of a resource one API key may hold."""
        return self._capacity.of_key.get(resource, math.inf)

    @property
    def waits_for_clients(self) -> bool:
        """Whether a request is in hand: its upload, its work, its answer, or a download."""
        return any(
            self._sums[resource] > 0
            for resource in (
                Resource.UPLOADS,
                Resource.REQUESTS,
                Resource.ANSWERS,
                Resource.JOB_UPLOADS,
                Resource.DOWNLOADS,
            )
        )

    @property
    def crowded(self) -> Limit | None:
        """The row of which clients hold all there is, if a new request would be refused for it."""
        for resource in (Resource.UPLOADS, Resource.ANSWERS):
            if self._sums[resource] >= self.limit(resource) and not self._slowest(resource):
                return LIMITS[resource]
        return None

    @contextmanager
    def lease(self, owner: str) -> Iterator[Lease]:
        """A lease that holds nothing yet, and ends with the context.

        Raises:
            Problem: the server ends.
        """
        self.check_open()
        lease = Lease(self, owner)
        try:
            yield lease
        finally:
            lease.end()

    def kept_lease(self, owner: str) -> Lease:
        """A lease that ends when its holder says so: a job's."""
        return Lease(self, owner)

    def check_open(self) -> None:
        """Raises: Problem: the server ends."""
        if self.closed:
            raise self._problem("not_ready", "The server ends.", self.retry_after_s(Resource.REQUESTS))

    def check(self, lease: Lease, resource: Resource, amount: float) -> None:
        """Raises: Problem: a lease cannot hold so much of a resource."""
        limit = LIMITS[resource]
        mine = lease.held.get(resource, 0.0)
        share = self.limit_of_key(resource) if lease.owner else math.inf
        if (of_key := self._sums_of_keys.get((lease.owner, resource), 0.0)) - mine + amount > share:
            raise self.key_busy(resource, of_key, share)
        most = self.limit(resource)
        if resource is Resource.REQUESTS and self._sums[resource] + amount - mine > most:
            self._let_go_of_slow_uploads()
        others = self._sums[resource] - mine
        if others + amount <= most or (limit.alone and others <= 0):
            return
        if limit.displaces and (slowest := self._slowest(resource)) is not None and slowest.transfer:
            slowest.transfer.displace()
            slowest.drop(resource)
            return
        raise self.full(resource, others, most, amount)

    def key_busy(self, resource: Resource, held: float, share: float) -> Problem:
        """The problem of an API key that has its share of a resource."""
        what = LIMITS[resource].what
        detail = f"This API key has {held:.0f} {what} already; expected at most {share:.0f} at a time."
        return self._problem("key_busy", detail, self.retry_after_s(resource), share, what)

    def full(self, resource: Resource, held: float, most: float, needed: float = 1.0) -> Problem:
        """The problem of a server that has no more of a resource."""
        limit = LIMITS[resource]
        detail = f"The server has {held:.0f} of {most:.0f} {limit.what} already, and this needs {needed:.0f} more."
        return self._problem(limit.code, detail, self.retry_after_s(resource), most, limit.what)

    def check_in_time(self, audio_seconds: float, left_s: float, timeout_s: float) -> None:
        """Look whether the answer could be there in time.

        Args:
            audio_seconds: of the recording, which holds none yet.
            left_s: until the deadline.
            timeout_s: what a request may take as a whole.

        Raises:
            Problem: the recording is too long for that, or there is too much to do before it; with Retry-After.
        """
        factor, queued = self.seconds_per_audio_second(), self._sums[Resource.AUDIO_SECONDS]
        late = (queued + audio_seconds) * factor - left_s
        if late <= 0:
            return
        if audio_seconds * factor > timeout_s:
            raise Problem(
                "recording_too_long",
                f"The recording lasts {audio_seconds:.0f} s, and this server would need longer than the "
                f"{timeout_s:g} s that a request may take. Send it to /jobs instead, or cut it into parts.",
                extra={"limit": timeout_s, "unit": "s"},
            )
        raise self._problem(
            "server_full",
            f"With {queued:.0f} s of audio in the queue, the answer would take longer than {timeout_s:g} s.",
            late,
            timeout_s,
            "s until the answer",
        )

    def late(self, timeout_s: float) -> Problem:
        """The problem of a request whose deadline passed."""
        return self._problem(
            "deadline_exceeded",
            f"The answer was not ready within {timeout_s:g} s; /jobs takes recordings that need longer.",
            self.retry_after_s(Resource.REQUESTS),
            timeout_s,
            "s",
        )

    def retry_after_s(self, resource: Resource) -> float:
        """How long it takes until there is some of a resource again."""
        match LIMITS[resource].wait:
            case "transfer":
                transfers = [lease.transfer for lease in self._leases if resource in lease.held and lease.transfer]
                left = [left_s for transfer in transfers if (left_s := transfer.left_s) is not None]
                return min(left, default=_UNKNOWN_S if transfers else _SENT_AT_ONCE_S)
            case "job":
                return self.first_job_s()
            case "work":
                backlog_s = self._sums[Resource.AUDIO_SECONDS] * self.seconds_per_audio_second()
                at_work = sum(lease.at_work for lease in self._leases)
                return max(self._rate.held_s, backlog_s / max(1, at_work))

    def left(self, lease: Lease, held_s: float) -> None:
        """A lease's work has ended."""
        others = sum(other.at_work for other in self._leases if other is not lease)
        self._rate.left(held_s, lease.answered, others)

    def book(self, lease: Lease, resource: Resource, amount: float) -> None:
        """Write down that a lease holds `amount` of a resource."""
        change = amount - lease.held.get(resource, 0.0)
        self._sums[resource] += change
        if lease.owner:
            self._sums_of_keys[lease.owner, resource] += change
            if self._sums_of_keys[lease.owner, resource] <= 0:
                del self._sums_of_keys[lease.owner, resource]
        if amount > 0:
            lease.held[resource] = amount
            self._leases[lease] = None
        else:
            lease.held.pop(resource, None)
            if not lease.held:
                self._leases.pop(lease, None)

    def _let_go_of_slow_uploads(self) -> None:
        """An upload that takes its time keeps its place among uploads, and none among recordings in work."""
        for lease in tuple(self._leases):
            if Resource.REQUESTS in lease.held and lease.lets_go:
                lease.drop(Resource.REQUESTS)

    def _slowest(self, resource: Resource) -> Lease | None:
        """Who has to give way to somebody new, if anybody has."""
        slow = [
            (lease.transfer.bytes_per_s, number, lease)
            for number, lease in enumerate(self._leases)
            if resource in lease.held and lease.transfer and lease.transfer.gives_way
        ]
        return min(slow)[2] if slow and LIMITS[resource].displaces else None

    @staticmethod
    def _problem(code: str, detail: str, wait_s: float, limit: float | None = None, unit: str = "") -> Problem:
        wait = max(1, math.ceil(min(wait_s, _LONGEST_WAIT_S)))
        extra = {} if limit is None else {"limit": limit, "unit": unit}
        return Problem(code, f"{detail} Try again in {wait} s.", extra=extra, headers={"Retry-After": str(wait)})
