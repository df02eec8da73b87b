"""Runs separations on worker threads, and stops those that are cancelled. The ledger decides what is let in.

Nothing here blocks the event loop for longer than it takes to look at the queue.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np

from unmingle.model.separator import Separator
from unmingle.service import memory
from unmingle.service.problems import Problem
from unmingle.service.scheduling.priority import stand_back
from unmingle.service.scheduling.work import LANES, Control, Lane, StoppedError, Ticket, Work
from unmingle.service.scheduling.work_queue import WorkQueue

__all__ = ["LANES", "Control", "Engine", "Lane", "State", "StoppedError", "Work"]

log = logging.getLogger(__name__)

State = Literal["starting", "ok", "failed", "stopped"]
T = TypeVar("T")

_TIDY_AFTER_S = 1.0
"""Without work, a thread has the process give its free memory back."""
_WARM_UP_S = 2.0
_STOP_S = 5.0


class Engine:
    """A queue and the threads that work on it.

    Attributes:
        separator: what all of them use.
    """

    def __init__(
        self, separator: Separator, workers: Mapping[Lane, int], on_begun: Callable[[float], None] | None = None
    ) -> None:
        """An engine that has not begun.

        Args:
            separator: what does the work.
            workers: how many recordings of each lane are separated at the same time.
            on_begun: told of every request how many seconds it waited for a worker.
        """
        self.separator, self._workers = separator, sum(workers.values())
        self._on_begun = on_begun
        self._changed = threading.Condition()
        self._queue = WorkQueue(workers)
        self._threads: list[threading.Thread] = []
        self._state: State = "starting"

    @property
    def state(self) -> State:
        """Whether work is taken: only while it is "ok"."""
        return self._state

    @property
    def real_time_factor(self) -> float:
        """Processing seconds per second of audio, of late; measured by the warm-up first."""
        return self._queue.real_time_factor

    def waiting(self, lane: Lane) -> int:
        """Recordings in the queue."""
        with self._changed:
            return self._queue.waiting(lane)

    def running(self, lane: Lane) -> int:
        """Recordings that are being separated."""
        with self._changed:
            return self._queue.running(lane)

    def audio_seconds(self, lane: Lane) -> float:
        """Of all recordings that wait or run."""
        with self._changed:
            return self._queue.audio_seconds(lane)

    def start(self) -> None:
        """Warm up on a worker thread, then take work."""
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def stop(self) -> None:
        """Stop: waiting work is dropped, running work is asked to stop."""
        with self._changed:
            self._state = "stopped"
            tickets = self._queue.empty()
            self._changed.notify_all()
        for ticket in tickets:
            ticket.work.control.stop()
            ticket.result.cancel()
        give_up = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    async def run(self, work: Work[T]) -> T:
        """Do the work on a worker thread. Cancelling this removes it from the queue, or stops it.

        Raises:
            Problem: the engine takes no work.
        """
        state = self.state
        if state != "ok":
            raise Problem("not_ready", f"The server is {state}. Try again later.", headers={"Retry-After": "5"})
        ticket = Ticket(work, concurrent.futures.Future(), time.perf_counter())
        with self._changed:
            self._revive()
            self._queue.add(ticket)
            self._changed.notify_all()  # the one that waits may be of the other lane
        try:
            result: T = await asyncio.wrap_future(ticket.result)
            return result
        finally:
            ticket.work.control.stop()
            with self._changed:
                self._queue.give_up(ticket)
            del ticket  # which has the failure, whose traceback has this frame; see `_work`

    def _warm_up(self) -> None:
        stand_back()
        rate = self.separator.embedder.config.sample_rate
        noise = np.random.default_rng(0).standard_normal(int(_WARM_UP_S * rate)).astype(np.float32) * np.float32(0.1)
        try:
            self.separator.separate(noise, rate, 2)
            start = time.perf_counter()
            self.separator.separate(noise, rate, 2)
            factor = (time.perf_counter() - start) / _WARM_UP_S
        except Exception:
            log.exception("The model does not run")
            with self._changed:
                self._state = "failed"
            return
        log.info("ready", extra={"real_time_factor": round(factor, 4)})
        with self._changed:
            self._queue.real_time_factor = factor
            if self._state == "starting":
                self._state = "ok"
                self._revive()

    def _revive(self) -> None:
        """Start the threads that are missing: all at first, later those that died."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for number in range(len(self._threads), self._workers):
            thread = threading.Thread(target=self._work, name=f"separate-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        stand_back()
        while (ticket := self._next()) is not None:
            result, failure = self._outcome(ticket.work, ticket.queued_s)
            with self._changed:
                self._queue.end(ticket, time.perf_counter(), complete=failure is None)
                self._changed.notify_all()
            if failure is None:
                ticket.result.set_result(result)
            else:
                ticket.result.set_exception(failure)
            # A failure's traceback keeps everything that the work had, including open files, until the next work comes.
            # For the same reason `_outcome`, which is in the traceback, has no reference to it.
            del ticket, result, failure

    def _outcome(self, work: Work[Any], queued_s: float | None) -> tuple[Any, Exception | None]:
        """What the work gives, or its failure."""
        try:
            if self._on_begun and queued_s is not None and work.lane == "requests":
                self._on_begun(queued_s)
            return work.run(self.separator, work.control), None
        except Exception as error:
            return None, error
        except BaseException as error:  # exceptions that end threads or processes must not reach the event loop
            return None, RuntimeError(f"the worker met {error!r}")

    def _next(self) -> Ticket | None:
        tidied = False
        while True:
            with self._changed:
                woken = True
                while woken:
                    if ticket := self._queue.begin(time.perf_counter()):
                        return ticket
                    if self._state == "stopped":
                        return None
                    woken = self._changed.wait(None if tidied else _TIDY_AFTER_S)
            memory.give_back()
            tidied = True
