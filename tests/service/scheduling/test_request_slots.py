"""Slots: as many as are made, and no more than can be served in time."""

from __future__ import annotations

import contextlib
import time

import pytest

from unmingle.service.problems import Problem
from unmingle.service.scheduling.request_slots import RequestSlots, Slot


class Clock:
    """time.monotonic() that goes when told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def take(slots: RequestSlots, stack: contextlib.ExitStack, owner: str = "") -> Slot:
    return stack.enter_context(slots.hold(owner))


def fill(slots: RequestSlots, stack: contextlib.ExitStack) -> int:
    """How many more there are."""
    count = 0
    while True:
        try:
            take(slots, stack)
        except Problem as problem:
            assert problem.code == "server_full"
            assert int(problem.headers["Retry-After"]) >= 1
            return count
        count += 1


def serve(slots: RequestSlots, clock: Clock, each_s: float, answered: bool = True) -> None:
    """Twenty requests, four at a time, one answer after the other."""
    waiting: list[tuple[contextlib.ExitStack, Slot]] = []
    for number in range(25):
        if number < 20:
            stack = contextlib.ExitStack()
            slot = take(slots, stack)
            slot.at_work = True
            waiting.append((stack, slot))
        if number >= 3 and waiting:
            clock.now += each_s
            stack, slot = waiting.pop(0)
            slot.answered = answered
            stack.close()
    assert slots.taken == 0


def test_there_are_as_many_as_are_made(clock: Clock) -> None:
    slots = RequestSlots(10, 3, 60.0)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            take(slots, stack, "alice")
        with pytest.raises(Problem) as refused:
            take(slots, stack, "alice")
        assert refused.value.code == "key_busy"
        assert fill(slots, stack) == 7
    assert slots.taken == 0


@pytest.mark.parametrize(("each_s", "wanted"), [(0.1, 64), (2.0, 30), (10.0, 6), (1000.0, 4)])
def test_there_are_no_more_than_can_be_served_in_time(clock: Clock, each_s: float, wanted: int) -> None:
    slots = RequestSlots(64, 64, 60.0)
    serve(slots, clock, each_s)
    with contextlib.ExitStack() as stack:
        assert fill(slots, stack) == wanted


def test_slow_uploads_and_refusals_teach_nothing(clock: Clock) -> None:
    slots = RequestSlots(64, 64, 60.0)
    serve(slots, clock, 0.001, answered=False)
    for _ in range(10):
        with slots.hold(""):
            clock.now += 55
    with contextlib.ExitStack() as stack:
        assert fill(slots, stack) == 64
    serve(slots, clock, 2.0)
    serve(slots, clock, 0.001, answered=False)
    with contextlib.ExitStack() as stack:
        assert fill(slots, stack) == 30
