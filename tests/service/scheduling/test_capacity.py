"""The ledger: what is held adds up, what is refused says why, and slow clients do not keep others out."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.service.harness import ROOT
from unmingle.service.problems import Problem
from unmingle.service.scheduling.answer_rate import AnswerRate
from unmingle.service.scheduling.capacity import Capacity, Lease, Ledger
from unmingle.service.scheduling.limits import LIMITS, Resource, table
from unmingle.service.scheduling.transfers import Transfer
from unmingle.service.settings import PREFIX, Settings


class Clock:
    """time.monotonic() that goes when told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def ledger(of_server: dict[Resource, float], of_key: dict[Resource, float] | None = None) -> Ledger:
    return Ledger(Capacity(of_server, of_key or {}), AnswerRate(60.0))


def take(books: Ledger, stack: contextlib.ExitStack, owner: str = "") -> Lease:
    """What a request takes at first."""
    lease = stack.enter_context(books.lease(owner))
    lease.take(Resource.RECORDINGS)
    lease.take(Resource.REQUESTS)
    return lease


def fill(books: Ledger, stack: contextlib.ExitStack) -> int:
    """How many more requests get in."""
    count = 0
    while True:
        try:
            take(books, stack)
        except Problem as problem:
            assert problem.code == "server_full"
            assert int(problem.headers["Retry-After"]) >= 1
            return count
        count += 1


def serve(books: Ledger, clock: Clock, each_s: float, answered: bool = True) -> None:
    """Twenty requests, four at a time, one answer after the other."""
    waiting: list[tuple[contextlib.ExitStack, Lease]] = []
    for number in range(25):
        if number < 20:
            stack = contextlib.ExitStack()
            lease = take(books, stack)
            lease.uploaded()
            waiting.append((stack, lease))
        if number >= 3 and waiting:
            clock.now += each_s
            stack, lease = waiting.pop(0)
            lease.answered = answered
            stack.close()
    assert books.held(Resource.REQUESTS) == books.held(Resource.RECORDINGS) == 0


def test_there_is_as_much_as_there_is(clock: Clock) -> None:
    books = ledger({Resource.REQUESTS: 10}, {Resource.RECORDINGS: 3})
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            take(books, stack, "alice")
        with pytest.raises(Problem) as refused:
            take(books, stack, "alice")
        assert refused.value.code == "key_busy"
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert fill(books, stack) == 7
    assert books.held(Resource.REQUESTS) == 0


@pytest.mark.parametrize(("each_s", "wanted"), [(0.1, 64), (2.0, 30), (10.0, 6), (1000.0, 4)])
def test_there_are_no_more_than_can_be_served_in_time(clock: Clock, each_s: float, wanted: int) -> None:
    books = ledger({Resource.REQUESTS: 64})
    serve(books, clock, each_s)
    with contextlib.ExitStack() as stack:
        assert fill(books, stack) == wanted


def test_slow_uploads_and_refusals_teach_nothing(clock: Clock) -> None:
    books = ledger({Resource.REQUESTS: 64})
    serve(books, clock, 0.001, answered=False)
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            take(books, stack)
            clock.now += 55
    with contextlib.ExitStack() as stack:
        assert fill(books, stack) == 64
    serve(books, clock, 2.0)
    serve(books, clock, 0.001, answered=False)
    with contextlib.ExitStack() as stack:
        assert fill(books, stack) == 30


def test_a_recording_counts_against_its_key_until_its_answer_is_sent() -> None:
    books = ledger({Resource.REQUESTS: 10}, {Resource.RECORDINGS: 1})
    with contextlib.ExitStack() as stack:
        lease = take(books, stack, "alice")
        lease.uploaded()
        lease.stems_are_there()
        assert books.held(Resource.REQUESTS) == 0
        with pytest.raises(Problem, match="1 recordings of /separate"):
            take(books, stack, "alice")
    with contextlib.ExitStack() as stack:
        take(books, stack, "alice")


def test_what_is_raised_is_counted_once_and_given_back() -> None:
    books = ledger({Resource.SPOOL_BYTES: 100})
    with books.lease("") as one, books.lease("") as other:
        one.take(Resource.SPOOL_BYTES, 40)
        one.take(Resource.SPOOL_BYTES, 60)
        other.take(Resource.SPOOL_BYTES, 40)
        with pytest.raises(Problem) as refused:
            other.take(Resource.SPOOL_BYTES, 41)
        assert (refused.value.code, refused.value.extra["limit"]) == ("disk_full", 100)
        one.put(Resource.SPOOL_BYTES, 10)
        other.take(Resource.SPOOL_BYTES, 90)
    assert books.held(Resource.SPOOL_BYTES) == 0


def test_one_long_recording_may_be_alone() -> None:
    books = ledger({Resource.AUDIO_SECONDS: 30})
    with books.lease("") as long, books.lease("") as short:
        long.take(Resource.AUDIO_SECONDS, 40)
        with pytest.raises(Problem) as refused:
            short.take(Resource.AUDIO_SECONDS, 1)
        assert refused.value.code == "server_full"


def test_retry_after_is_the_time_that_the_work_takes() -> None:
    books = ledger({Resource.REQUESTS: 2})
    books.seconds_per_audio_second = lambda: 0.5
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            lease = take(books, stack)
            lease.uploaded()
            lease.take(Resource.AUDIO_SECONDS, 600)
        with pytest.raises(Problem) as refused:
            take(books, stack)
        assert refused.value.headers["Retry-After"] == "300"


def test_a_slow_upload_keeps_no_recording_out(clock: Clock) -> None:
    books = ledger({Resource.REQUESTS: 2, Resource.UPLOADS: 10})
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            lease = take(books, stack)
            lease.take(Resource.UPLOADS)
            lease.transfer = Transfer(60, 1024, 10**6)
        with pytest.raises(Problem):
            take(books, stack)
        clock.now += 6
        assert fill(books, stack) == 2


def test_the_slowest_upload_gives_way(clock: Clock) -> None:
    books = ledger({Resource.UPLOADS: 2})

    async def run() -> None:
        with contextlib.ExitStack() as stack:
            leases = [stack.enter_context(books.lease("")) for _ in range(4)]
            for lease, moved in zip(leases, (5_000, 1_000), strict=False):
                lease.take(Resource.UPLOADS)
                lease.transfer = Transfer(60, 1024, 10**6)
                lease.transfer.note(moved)
            with pytest.raises(Problem) as refused:  # nobody can be called slow yet
                leases[2].take(Resource.UPLOADS)
            assert int(refused.value.headers["Retry-After"]) >= 1
            clock.now += 6
            leases[2].take(Resource.UPLOADS)
            assert [lease.transfer.displaced for lease in leases[:2] if lease.transfer] == [False, True]
            assert books.held(Resource.UPLOADS) == 2

    asyncio.run(run())


def test_a_transfer_is_judged_by_its_progress(clock: Clock) -> None:
    steady, slow, stalled = (Transfer(60, 8192) for _ in "123")
    stalled.note(10**9)
    for second in range(1, 600):
        clock.now += 1
        steady.note(16_384 * second)
        slow.note(1_100 * second)
        assert steady.fault() is None
        assert (slow.fault() is None) == (second < 24)
        assert (stalled.fault() is None) == (second < 60)


def test_the_documented_table_is_the_table() -> None:
    for limit in LIMITS.values():
        for field in (limit.setting, limit.key_setting):
            assert field is None or field in Settings.model_fields
    assert table(PREFIX) in (ROOT / "docs" / "operations.md").read_text()
