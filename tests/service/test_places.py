"""Places: as many as are made, and no more than can be served in time."""

from __future__ import annotations

import contextlib
import time

import pytest

from service.places import Place, Places
from service.problems import Problem


class Clock:
    """time.monotonic() that goes when told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def take(places: Places, stack: contextlib.ExitStack, owner: str = "") -> Place:
    return stack.enter_context(places.place(owner))


def fill(places: Places, stack: contextlib.ExitStack) -> int:
    """How many more there are."""
    count = 0
    while True:
        try:
            take(places, stack)
        except Problem as problem:
            assert problem.code == "server_full"
            assert int(problem.headers["Retry-After"]) >= 1
            return count
        count += 1


def serve(places: Places, clock: Clock, each_s: float, answered: bool = True) -> None:
    """Twenty requests, four at a time, one answer after the other."""
    waiting: list[tuple[contextlib.ExitStack, Place]] = []
    for number in range(25):
        if number < 20:
            stack = contextlib.ExitStack()
            place = take(places, stack)
            place.at_work = True
            waiting.append((stack, place))
        if number >= 3 and waiting:
            clock.now += each_s
            stack, place = waiting.pop(0)
            place.answered = answered
            stack.close()
    assert places.taken == 0


def test_there_are_as_many_as_are_made(clock: Clock) -> None:
    places = Places(10, 3, 60.0)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            take(places, stack, "alice")
        with pytest.raises(Problem) as refused:
            take(places, stack, "alice")
        assert refused.value.code == "key_busy"
        assert fill(places, stack) == 7
    assert places.taken == 0


@pytest.mark.parametrize(("each_s", "wanted"), [(0.1, 64), (2.0, 30), (10.0, 6), (1000.0, 4)])
def test_there_are_no_more_than_can_be_served_in_time(clock: Clock, each_s: float, wanted: int) -> None:
    places = Places(64, 64, 60.0)
    serve(places, clock, each_s)
    with contextlib.ExitStack() as stack:
        assert fill(places, stack) == wanted


def test_slow_uploads_and_refusals_teach_nothing(clock: Clock) -> None:
    places = Places(64, 64, 60.0)
    serve(places, clock, 0.001, answered=False)
    for _ in range(10):
        with places.place(""):
            clock.now += 55
    with contextlib.ExitStack() as stack:
        assert fill(places, stack) == 64
    serve(places, clock, 2.0)
    serve(places, clock, 0.001, answered=False)
    with contextlib.ExitStack() as stack:
        assert fill(places, stack) == 30
