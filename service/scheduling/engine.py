"""Gives work to the workers, once more where one is lost, and stops what is cancelled. It computes nothing itself.

The ledger decides what is let in.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from unmingle.service import tracing
from unmingle.service.problems import Problem
from unmingle.service.scheduling.crew import Crew
from unmingle.service.scheduling.scaling import Scaling
from unmingle.service.scheduling.traced import traced
from unmingle.service.scheduling.work import LANES, Control, Lane, StoppedError, Task, Ticket, Work
from unmingle.service.scheduling.work_queue import WorkQueue
from unmingle.service.scheduling.worker import Reason, Worker, WorkerLostError

__all__ = ["LANES", "Control", "Engine", "Lane", "State", "StoppedError", "Task", "Work"]

State = Literal["starting", "ok", "failed", "stopped"]
T = TypeVar("T")


class Engine:
    """A queue and the workers that work on it. Belongs to one event loop; what it counts may be read anywhere."""

    def __init__(
        self,
        workers: Sequence[Worker],
        hire: Callable[[], Worker],
        lanes: Mapping[Lane, int],
        on_begun: Callable[[float], None] | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        """An engine that has not begun.

        Args:
            workers: those to begin with.
            hire: gives one in place of one that was lost.
            lanes: how many recordings of each lane are separated at the same time.
            on_begun: told of every request how many seconds it waited for a worker.
            scaling: how many workers there should be; by default, always as many as to begin with.
        """
        self._on_begun = on_begun
        self._queue = WorkQueue(lanes)
        self._crew = Crew(workers, hire, scaling, self._is_ready, self._has_failed)
        self._attending: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def state(self) -> State:
        """ "ok" while a worker is ready; "starting" also while a lost one is replaced, and no other is left."""
        if self._stopped:
            return "stopped"
        return "ok" if self._crew.ready else "failed" if self._crew.failed else "starting"

    @property
    def takes_work(self) -> bool:
        """Whether work is taken: also while a lost worker is replaced, which is soon."""
        return self.state == "ok" or (self.state == "starting" and self._crew.was_ready)

    @property
    def workers(self) -> tuple[int, int]:
        """How many are ready, and how many there are to be."""
        return self._crew.size

    @property
    def most_workers(self) -> int:
        """How many there may be while there is much to do."""
        return self._crew.most

    @property
    def lost(self) -> collections.Counter[Reason]:
        """How many workers were lost, and why."""
        return self._crew.lost

    @property
    def unready_since(self) -> float:
        """time.monotonic() since when no worker has been ready; of no meaning while one is."""
        return self._crew.unready_since

    @property
    def resident_bytes(self) -> int:
        """What the workers hold of memory, of late."""
        return self._crew.resident_bytes

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that workers have taken so far."""
        return self._crew.processor_s

    @property
    def real_time_factor(self) -> float:
        """Processing seconds per second of audio, of late; measured by the warm-up first."""
        return self._queue.real_time_factor

    def waiting(self, lane: Lane) -> int:
        """Recordings in the queue."""
        return self._queue.waiting(lane)

    def running(self, lane: Lane) -> int:
        """Recordings that are being separated."""
        return self._queue.running(lane)

    def audio_seconds(self, lane: Lane) -> float:
        """Of all recordings that wait or run."""
        return self._queue.audio_seconds(lane)

    def start(self) -> None:
        """Take work as soon as a worker is ready."""
        self._crew.start(lambda: sum(self._queue.audio_seconds(lane) for lane in LANES))

    async def stop(self) -> None:
        """End all workers; nobody waits for them any more."""
        self._stopped = True
        for ticket in self._queue.empty():
            ticket.result.cancel()
        await self._crew.stop()
        await asyncio.gather(*self._attending, return_exceptions=True)

    async def run(self, work: Work[T]) -> T:
        """Have the work done by a worker. Cancelling this removes it from the queue, or stops it.

        Work whose worker is lost is done once more.

        Raises:
            Problem: the engine takes no work, two workers were lost with it, or it cannot be done.
            WorkFailedError: it failed.
        """
        if not self.takes_work:
            raise _not_ready(self.state)
        work = dataclasses.replace(work, task=traced(work.task))
        ticket = Ticket(work, asyncio.get_running_loop().create_future(), time.perf_counter())
        ticket.waits = tracing.begin("queue")
        self._queue.add(ticket)
        self._assign()
        try:
            result: T = await ticket.result
            return result
        finally:
            work.control.stop()
            ticket.waits.end()
            self._queue.give_up(ticket)

    def _is_ready(self, factor: float) -> None:
        if not self._crew.was_ready:
            self._queue.real_time_factor = factor
        self._assign()

    def _has_failed(self) -> None:
        """No worker gets ready: nobody shall wait for one."""
        for ticket in self._queue.empty():
            if not ticket.result.done():
                ticket.result.set_exception(_not_ready("failed"))

    def _assign(self) -> None:
        """Give the workers what they may begin, the one with the least in hand first."""
        given = True
        while given:
            given = False
            for worker, in_hand in sorted(self._crew.ready.items(), key=lambda item: len(item[1])):
                if not worker.alive:
                    continue
                if ticket := self._queue.begin(time.perf_counter(), in_hand):
                    in_hand.append(ticket)
                    attending = asyncio.create_task(self._attend(worker, in_hand, ticket))
                    self._attending.add(attending)
                    attending.add_done_callback(self._attending.discard)
                    given = True
                    break

    async def _attend(self, worker: Worker, in_hand: list[Ticket], ticket: Ticket) -> None:
        """Wait for what a worker makes of a ticket."""
        work, again = ticket.work, False
        if self._on_begun and ticket.queued_s is not None and work.lane == "requests" and not ticket.suspect:
            self._on_begun(ticket.queued_s)
        failure: Exception | None = None
        result = None
        ticket.waits.end()
        try:
            result = await worker.do(work.task, work.control)
        except WorkerLostError:
            again = not (ticket.suspect or ticket.result.done() or self._stopped)
            failure = Problem(
                "worker_lost",
                "The process that worked on this recording ended, and so did the one that tried again.",
                headers={"Retry-After": "5"},
            )
        except Exception as error:
            failure = error
        in_hand.remove(ticket)
        if again:
            self._queue.again(ticket)
        else:
            self._queue.end(ticket, time.perf_counter(), complete=failure is None)
            if not ticket.result.done():
                ticket.result.set_result(result) if failure is None else ticket.result.set_exception(failure)
        self._assign()


def _not_ready(state: State) -> Problem:
    return Problem("not_ready", f"The server is {state}. Try again later.", headers={"Retry-After": "5"})
