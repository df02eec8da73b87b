"""Runs separations on worker threads: takes or refuses work at once, keeps deadlines, stops cancelled work, drains.

Nothing here runs on the event loop for longer than it takes to look at the queue.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from unmingle.model.separator import Separator
from unmingle.service.problems import Problem
from unmingle.service.scheduling.admission import Admission, EngineLimits
from unmingle.service.scheduling.priority import stand_back
from unmingle.service.scheduling.work import Control, StoppedError, Ticket, Work
from unmingle.service.scheduling.work_queue import WorkQueue

__all__ = ["Control", "Engine", "EngineLimits", "State", "StoppedError", "Work"]

log = logging.getLogger(__name__)

State = Literal["starting", "ok", "draining", "failed", "stopped"]
T = TypeVar("T")

_WARM_UP_S = 2.0


class Engine:
    """A queue and the threads that work on it.

    Attributes:
        separator: what all of them use.
    """

    def __init__(
        self, separator: Separator, limits: EngineLimits, on_begun: Callable[[float], None] | None = None
    ) -> None:
        """Args: on_begun: told of every recording how many seconds it waited for a worker."""
        self.separator, self._limits = separator, limits
        self._on_begun = on_begun
        self._changed = threading.Condition()
        self._queue = WorkQueue(limits.workers)
        self._admission = Admission(self._queue, limits)
        self._threads: list[threading.Thread] = []
        self._state: State = "starting"

    @property
    def state(self) -> State:
        """Whether work is taken: only while it is "ok"."""
        with self._changed:
            if self._state == "ok":
                self._revive()
            return self._state

    @property
    def real_time_factor(self) -> float:
        """Processing seconds per second of audio, of late; measured by the warm-up first."""
        return self._queue.real_time_factor

    @property
    def waiting(self) -> int:
        """Recordings in the queue."""
        return self._queue.waiting

    @property
    def running(self) -> int:
        """Recordings that are being separated."""
        return self._queue.running

    @property
    def audio_seconds(self) -> float:
        """Of all that waits or runs."""
        with self._changed:
            return self._queue.audio_seconds

    @property
    def audio_bytes(self) -> int:
        """Of all that waits or runs."""
        with self._changed:
            return self._queue.audio_bytes

    def start(self, then: Callable[[float], None] | None = None) -> None:
        """Warm up on a worker thread, then take work.

        Args:
            then: told the real-time factor that was measured; `begin` of another engine with the same model, say.
        """
        threading.Thread(target=self._warm_up, args=(then,), name="warm-up", daemon=True).start()

    def begin(self, real_time_factor: float) -> None:
        """Take work from now on; `real_time_factor` is the speed to expect at first."""
        with self._changed:
            self._queue.real_time_factor = real_time_factor
            if self._state == "starting":
                self._state = "ok"
                self._revive()

    def drain(self) -> None:
        """Take no more work; what waits and runs is finished."""
        with self._changed:
            if self._state in ("starting", "ok"):
                self._state = "draining"
            self._changed.notify_all()

    def stop(self) -> None:
        """End: what waits is given up, what runs is asked to stop."""
        with self._changed:
            self._state = "stopped"
            tickets = self._queue.empty()
            self._changed.notify_all()
        for ticket in tickets:
            ticket.work.control.stop()
            ticket.result.cancel()
        for thread in self._threads:
            thread.join(timeout=5)

    def admit(
        self, owner: str = "", audio_seconds: float = 0.0, audio_bytes: int = 0, timeout_s: float | None = None
    ) -> None:
        """Say whether such work would be taken now.

        Raises:
            Problem: not ready, full, or with so much to do that the deadline would pass; with Retry-After.
        """
        state = self.state
        if state != "ok":
            raise Problem("not_ready", f"The server is {state}. Try again later.", headers={"Retry-After": "5"})
        with self._changed:
            self._admission.check(owner, audio_seconds, audio_bytes, timeout_s)

    async def run(self, work: Work[T]) -> T:
        """Do the work on a worker thread, in turn. Cancelling this takes it out of the queue, or stops it.

        Raises:
            Problem: not admitted, or the deadline passed.
        """
        self.admit(work.owner, work.audio_seconds, work.audio_bytes, work.timeout_s)
        ticket = Ticket(work, concurrent.futures.Future(), time.perf_counter())
        with self._changed:
            self._queue.add(ticket)
            self._changed.notify()
        try:
            async with asyncio.timeout(work.timeout_s):
                result: T = await asyncio.wrap_future(ticket.result)
                return result
        except TimeoutError as error:
            with self._changed:
                raise self._admission.late(work.timeout_s) from error
        finally:
            ticket.work.control.stop()
            with self._changed:
                self._queue.give_up(ticket)
            del ticket  # which has the failure, whose traceback has this frame; see `_work`

    def _warm_up(self, then: Callable[[float], None] | None) -> None:
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
        self.begin(factor)
        if then:
            then(factor)

    def _revive(self) -> None:
        """Start the threads that are missing: all at first, later those that died."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for number in range(len(self._threads), self._limits.workers):
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
            # A failure's traceback holds all that the work had, open files among it, and the next work may be long in
            # coming. For the same reason `_outcome`, which is in the traceback, knows nothing that leads to it.
            del ticket, result, failure

    def _outcome(self, work: Work[Any], queued_s: float | None) -> tuple[Any, Exception | None]:
        """What the work gives, or its failure."""
        try:
            if self._on_begun and queued_s is not None:
                self._on_begun(queued_s)
            return work.run(self.separator, work.control), None
        except Exception as error:
            return None, error
        except BaseException as error:  # what ends threads or processes must not get to the event loop
            return None, RuntimeError(f"the worker met {error!r}")

    def _next(self) -> Ticket | None:
        with self._changed:
            while True:
                if ticket := self._queue.begin(time.perf_counter()):
                    return ticket
                if self._state == "stopped" or (self._state == "draining" and not self._queue.waiting):
                    return None
                self._changed.wait()
