"""Who is next, and what a second of audio costs where several recordings share the processor."""

from __future__ import annotations

import concurrent.futures

import pytest

from unmingle.service.scheduling.work import Control, Lane, Ticket, Work
from unmingle.service.scheduling.work_queue import WorkQueue


def ticket(audio_seconds: float, submitted: float = 0.0, lane: Lane = "requests") -> Ticket:
    return Ticket(Work(lambda *_: None, audio_seconds, lane), concurrent.futures.Future(), submitted)


def test_first_come_first_served() -> None:
    queue, tickets = WorkQueue({"requests": 3, "jobs": 1}), [ticket(5), ticket(20), ticket(5)]
    for each in tickets:
        queue.add(each)
    assert [queue.begin(0.0) for _ in range(4)] == [*tickets, None]
    counted = queue.waiting("requests"), queue.running("requests"), queue.audio_seconds("requests")
    assert counted == (0, 3, 30)


def test_long_recordings_leave_workers_to_short_ones() -> None:
    queue, long, short = WorkQueue({"requests": 4, "jobs": 1}), [ticket(3600) for _ in range(4)], ticket(5)
    for each in (*long, short):
        queue.add(each)
    assert [queue.begin(0.0) for _ in range(4)] == [long[0], long[1], short, None]
    queue.end(long[0], 1.0, complete=True)
    assert queue.begin(1.0) is long[2]


def test_with_one_worker_long_ones_run_too() -> None:
    queue, long = WorkQueue({"requests": 1, "jobs": 1}), ticket(3600)
    queue.add(long)
    assert queue.begin(0.0) is long


def test_what_was_given_up_is_passed_over() -> None:
    queue, given_up, wanted = WorkQueue({"requests": 1, "jobs": 1}), ticket(5), ticket(5)
    queue.add(given_up)
    queue.add(wanted)
    given_up.result.cancel()
    assert queue.begin(2.0) is wanted
    assert wanted.queued_s == 2.0


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_cost_of_audio_is_the_same_whether_they_share_or_take_turns(together: int) -> None:
    """Each costs 1 s of processing for 10 s of audio; together they take as many times longer."""
    queue = WorkQueue({"requests": together, "jobs": 1})
    queue.real_time_factor = 0.1
    tickets = [ticket(10) for _ in range(together)]
    for each in tickets:
        queue.add(each)
        queue.begin(0.0)
    for each in tickets:
        queue.end(each, float(together), complete=True)
    assert queue.real_time_factor == pytest.approx(0.1)


def test_short_and_failed_ones_tell_nothing() -> None:
    queue, short, failed = WorkQueue({"requests": 1, "jobs": 1}), ticket(0.5), ticket(10)
    for each, complete in ((short, True), (failed, False)):
        queue.add(each)
        queue.begin(0.0)
        queue.end(each, 100.0, complete)
    assert queue.real_time_factor == 1.0


def test_a_worker_has_one_part_at_a_time_beside_others() -> None:
    queue, parts, other = (
        WorkQueue({"requests": 1, "jobs": 1}),
        [ticket(300, lane="parts") for _ in range(3)],
        ticket(5),
    )
    for each in (*parts, other):
        queue.add(each)
    in_hand = [queue.begin(0.0), queue.begin(0.0, parts[:1])]
    assert in_hand == [parts[0], other]
    assert queue.begin(0.0, in_hand) is None
    assert queue.begin(0.0, [other]) is parts[1]
    queue.again(parts[0])
    assert queue.begin(1.0, [other]) is parts[0]


def test_whoever_waits_for_progress_is_told_here_and_from_elsewhere() -> None:
    told: list[float] = []
    control = Control(told.append)
    control(0.25)
    control.done = 0.5
    assert told == [0.25, 0.5]
    assert control.done == 0.5
