"""Gives work to the workers, replaces those that are lost, and stops what is cancelled. It computes nothing itself.

The ledger decides what is let in.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from unmingle.model.errors import UnmingleError
from unmingle.service import tracing
from unmingle.service.problems import Problem
from unmingle.service.scheduling.traced import traced
from unmingle.service.scheduling.work import LANES, Control, Lane, StoppedError, Task, Ticket, Work
from unmingle.service.scheduling.work_queue import WorkQueue
from unmingle.service.scheduling.worker import Reason, Worker, WorkerLostError

__all__ = ["LANES", "Control", "Engine", "Lane", "State", "StoppedError", "Task", "Work"]

log = logging.getLogger(__name__)

State = Literal["starting", "ok", "failed", "stopped"]
T = TypeVar("T")

_FAILED_AFTER = 3
"""Workers one after the other that did not get ready."""
_LONGEST_PAUSE_S = 30.0


class Engine:
    """A queue and the workers that work on it. Belongs to one event loop; what it counts may be read anywhere."""

    def __init__(
        self,
        workers: Sequence[Worker],
        hire: Callable[[], Worker],
        lanes: Mapping[Lane, int],
        on_begun: Callable[[float], None] | None = None,
    ) -> None:
        """An engine that has not begun.

        Args:
            workers: those to begin with.
            hire: gives one in place of one that was lost.
            lanes: how many recordings of each lane are separated at the same time.
            on_begun: told of every request how many seconds it waited for a worker.
        """
        self._first, self._hire, self._on_begun = tuple(workers), hire, on_begun
        self._queue = WorkQueue(lanes)
        self._ready: dict[Worker, list[Ticket]] = {}
        """What each has in hand."""
        self._keepers: list[asyncio.Task[None]] = []
        self._attending: set[asyncio.Task[None]] = set()
        self._was_ready = self._failed = self._stopped = False
        self.unready_since = time.monotonic()
        """time.monotonic() since when no worker has been ready; of no meaning while one is."""
        self._past_processor_s = 0.0
        self.lost: collections.Counter[Reason] = collections.Counter()
        """How many workers were lost, and why."""

    @property
    def state(self) -> State:
        """ "ok" while a worker is ready; "starting" also while a lost one is replaced, and no other is left."""
        if self._stopped:
            return "stopped"
        return "ok" if self._ready else "failed" if self._failed else "starting"

    @property
    def takes_work(self) -> bool:
        """Whether work is taken: also while a lost worker is replaced, which is soon."""
        return self.state == "ok" or (self.state == "starting" and self._was_ready)

    @property
    def workers(self) -> tuple[int, int]:
        """How many are ready, and how many there are to be."""
        return len(self._ready), len(self._first)

    @property
    def resident_bytes(self) -> int:
        """What the workers hold of memory, of late."""
        return sum(worker.resident_bytes for worker in tuple(self._ready))

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that workers have taken so far."""
        return self._past_processor_s + sum(worker.processor_s for worker in tuple(self._ready))

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
        self._keepers = [asyncio.create_task(self._keep(worker)) for worker in self._first]

    async def stop(self) -> None:
        """End all workers; nobody waits for them any more."""
        self._stopped = True
        for ticket in self._queue.empty():
            ticket.result.cancel()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
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

    async def _keep(self, worker: Worker | None) -> None:
        """Keep one place for a worker filled."""
        failures = 0
        try:
            while True:
                try:
                    worker = worker or self._hire()
                    factor = await worker.ready()
                except (WorkerLostError, UnmingleError, OSError) as error:
                    log.error("A worker does not get ready: %s", error)
                    failures += 1
                    if worker:
                        await worker.end()
                    worker = None
                    if failures >= _FAILED_AFTER and not self._ready:
                        self._fail()
                    await asyncio.sleep(min(_LONGEST_PAUSE_S, 2.0**failures))
                    continue
                failures = 0
                self._is_ready(worker, factor)
                self._is_lost(worker, await worker.lost())
                worker = None
        finally:
            if worker:
                await worker.end()

    def _is_ready(self, worker: Worker, factor: float) -> None:
        log.info("ready", extra={"real_time_factor": round(factor, 4)})
        if not self._was_ready:
            self._queue.real_time_factor = factor
        self._was_ready, self._failed = True, False
        self._ready[worker] = []
        self._assign()

    def _is_lost(self, worker: Worker, loss: WorkerLostError) -> None:
        del self._ready[worker]
        self._past_processor_s += worker.processor_s
        self.unready_since = time.monotonic()
        self.lost[loss.reason] += 1
        log.error("a worker is lost and will be replaced: %s", loss, extra={"reason": loss.reason})

    def _fail(self) -> None:
        """No worker gets ready: nobody shall wait for one."""
        self._failed = True
        for ticket in self._queue.empty():
            if not ticket.result.done():
                ticket.result.set_exception(_not_ready("failed"))

    def _assign(self) -> None:
        """Give the workers what they may begin, the one with the least in hand first."""
        given = True
        while given:
            given = False
            for worker, in_hand in sorted(self._ready.items(), key=lambda item: len(item[1])):
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
