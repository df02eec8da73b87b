"""Runs separations on worker threads: admits or refuses at once, keeps deadlines, stops cancelled work, drains.

Nothing here runs on the event loop for longer than it takes to look at the queue.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from model.separator import Separator
from service.priority import stand_back
from service.problems import Problem

log = logging.getLogger(__name__)

State = Literal["starting", "ok", "draining", "failed", "stopped"]
T = TypeVar("T")

_WARM_UP_S = 2.0


class StoppedError(Exception):
    """The work was asked to stop, and did."""


class Control:
    """The line to work on another thread: the work calls it with the part it has done, and stops there if asked to."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.done = 0.0

    def __call__(self, done: float) -> None:
        """Take note of the part that is done, 0 to 1.

        Raises:
            StoppedError: the work was asked to stop.
        """
        self.done = done
        if self._stop.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Ask the work to stop."""
        self._stop.set()


@dataclasses.dataclass(frozen=True)
class EngineLimits:
    """How much work the engine accepts."""

    workers: int
    max_seconds: float
    """Seconds of audio that may wait or run."""
    max_bytes: int
    """Decoded audio that may wait or run."""
    max_per_owner: int
    """Recordings of one owner that may wait or run."""


@dataclasses.dataclass(frozen=True)
class Work(Generic[T]):
    """One recording to separate.

    Attributes:
        run: called on a worker thread with the separator and a control, which it is to call now and then.
        audio_seconds: length of the recording.
        audio_bytes: decoded.
        timeout_s: from submission to the result; None waits as long as it takes.
        owner: whose share of the queue this counts against.
        control: stops the work and tells its progress.
    """

    run: Callable[[Separator, Control], T]
    audio_seconds: float
    audio_bytes: int
    timeout_s: float | None
    owner: str = ""
    control: Control = dataclasses.field(default_factory=Control)


@dataclasses.dataclass(frozen=True, eq=False)
class _Ticket:
    work: Work[Any]
    result: concurrent.futures.Future[Any]


class Engine:
    """A queue and the threads that work on it."""

    def __init__(self, separator: Separator, limits: EngineLimits) -> None:
        self._separator, self._limits = separator, limits
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Ticket] = collections.deque()
        self._running: list[_Ticket] = []
        self._threads: list[threading.Thread] = []
        self._state: State = "starting"
        self.real_time_factor = 1.0
        """Processing seconds per second of audio, of late; measured by the warm-up first."""

    @property
    def state(self) -> State:
        """Whether work is taken: only while it is "ok"."""
        with self._changed:
            if self._state == "ok":
                self._revive()
            return self._state

    @property
    def waiting(self) -> int:
        """Recordings in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Recordings that are being separated."""
        return len(self._running)

    @property
    def audio_seconds(self) -> float:
        """Of all that waits or runs."""
        with self._changed:
            return sum(ticket.work.audio_seconds for ticket in (*self._waiting, *self._running))

    @property
    def audio_bytes(self) -> int:
        """Of all that waits or runs."""
        with self._changed:
            return sum(ticket.work.audio_bytes for ticket in (*self._waiting, *self._running))

    def start(self, then: Callable[[float], None] | None = None) -> None:
        """Warm up on a worker thread, then take work.

        Args:
            then: told the real-time factor that was measured; `begin` of another engine with the same model, say.
        """
        threading.Thread(target=self._warm_up, args=(then,), name="warm-up", daemon=True).start()

    def begin(self, real_time_factor: float) -> None:
        """Take work from now on; `real_time_factor` is the speed to expect at first."""
        with self._changed:
            self.real_time_factor = real_time_factor
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
            tickets = (*self._waiting, *self._running)
            self._waiting.clear()
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
        timeout_s = math.inf if timeout_s is None else timeout_s
        state = self.state
        if state != "ok":
            raise Problem("not_ready", f"The server is {state}. Try again later.", headers={"Retry-After": "5"})
        seconds, limits = self.audio_seconds, self._limits
        if owner and self._count(owner) >= limits.max_per_owner:
            raise Problem(
                "key_busy",
                f"{limits.max_per_owner} recordings of this API key wait or run; expected no more at a time.",
                extra={"limit": limits.max_per_owner},
                headers={"Retry-After": self._retry_after(seconds)},
            )
        if seconds + audio_seconds > limits.max_seconds and seconds > 0:
            raise self._full(seconds + audio_seconds - limits.max_seconds, limits.max_seconds, "s of audio")
        if (held := self.audio_bytes) + audio_bytes > limits.max_bytes and held > 0:
            raise self._full(seconds, limits.max_bytes, "bytes of decoded audio")
        late = self._expected_s(seconds + audio_seconds) - timeout_s
        if late > 0:
            if seconds == 0:
                raise Problem(
                    "recording_too_long",
                    f"The recording lasts {audio_seconds:.0f} s, and this server would need longer than the "
                    f"{timeout_s:g} s that a request may take. Send it to /jobs instead, or cut it into parts.",
                    extra={"limit": timeout_s, "unit": "s"},
                )
            raise self._full(late / self.real_time_factor * limits.workers, timeout_s, "s until the answer")

    async def run(self, work: Work[T]) -> T:
        """Do the work on a worker thread, in turn. Cancelling this takes it out of the queue, or stops it.

        Raises:
            Problem: not admitted, or the deadline passed.
        """
        self.admit(work.owner, work.audio_seconds, work.audio_bytes, work.timeout_s)
        ticket = _Ticket(work, concurrent.futures.Future())
        with self._changed:
            self._waiting.append(ticket)
            self._changed.notify()
        try:
            async with asyncio.timeout(work.timeout_s):
                result: T = await asyncio.wrap_future(ticket.result)
                return result
        except TimeoutError as error:
            raise Problem(
                "deadline_exceeded",
                f"The answer was not ready within {work.timeout_s:g} s.",
                extra={"limit": work.timeout_s, "unit": "s"},
                headers={"Retry-After": self._retry_after(self.audio_seconds)},
            ) from error
        finally:
            ticket.work.control.stop()
            with self._changed:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)

    def _count(self, owner: str) -> int:
        with self._changed:
            return sum(ticket.work.owner == owner for ticket in (*self._waiting, *self._running))

    def _expected_s(self, audio_seconds: float) -> float:
        return audio_seconds * self.real_time_factor / self._limits.workers

    def _retry_after(self, audio_seconds: float) -> str:
        return str(max(1, math.ceil(self._expected_s(audio_seconds))))

    def _full(self, audio_seconds: float, limit: float, unit: str) -> Problem:
        retry_after = self._retry_after(audio_seconds)
        return Problem(
            "server_full",
            f"The server has as much work as it takes ({limit:g} {unit}). Try again in {retry_after} s.",
            extra={"limit": limit, "unit": unit},
            headers={"Retry-After": retry_after},
        )

    def _warm_up(self, then: Callable[[float], None] | None) -> None:
        stand_back()
        rate = self._separator.embedder.config.sample_rate
        noise = np.random.default_rng(0).standard_normal(int(_WARM_UP_S * rate)).astype(np.float32) * np.float32(0.1)
        try:
            self._separator.separate(noise, rate, 2)
            start = time.perf_counter()
            self._separator.separate(noise, rate, 2)
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
            start = time.perf_counter()
            result: Any = None
            failure: Exception | None = None
            try:
                result = ticket.work.run(self._separator, ticket.work.control)
                self._learn(time.perf_counter() - start, ticket.work.audio_seconds)
            except Exception as error:
                failure = error
            except BaseException as error:  # what ends threads or processes must not get to the event loop
                failure = RuntimeError(f"the worker met {error!r}")
            self._finish(ticket)
            if failure is None:
                ticket.result.set_result(result)
            else:
                ticket.result.set_exception(failure)

    def _next(self) -> _Ticket | None:
        with self._changed:
            while True:
                while self._waiting:
                    ticket = self._waiting.popleft()
                    if ticket.result.set_running_or_notify_cancel():
                        self._running.append(ticket)
                        return ticket
                if self._state in ("draining", "stopped"):
                    return None
                self._changed.wait()

    def _finish(self, ticket: _Ticket) -> None:
        with self._changed:
            self._running.remove(ticket)
            self._changed.notify_all()

    def _learn(self, seconds: float, audio_seconds: float) -> None:
        if audio_seconds > 1.0:  # shorter ones tell more about the overhead than about the speed
            self.real_time_factor += 0.2 * (seconds / audio_seconds - self.real_time_factor)
