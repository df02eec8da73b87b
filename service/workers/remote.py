"""A worker that is talked to by messages: what it has in hand, whether it is alive, and what becomes of its work."""

from __future__ import annotations

import abc
import asyncio
import collections
import logging
import pickle
import time
from collections.abc import AsyncIterator
from typing import TypeVar

from unmingle.service.problems import Problem
from unmingle.service.scheduling.work import Control, StoppedError, Task
from unmingle.service.scheduling.worker import Reason, WorkerLostError, WorkFailedError
from unmingle.service.workers.messages import (
    Beat,
    Begin,
    Ended,
    Failure,
    Message,
    Progress,
    Ready,
    Stop,
    Unusable,
    packed,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

LOADING_S = 300.0
"""Longest time until a worker has the model."""

_LOOKS = 5
"""How often a worker is looked at within the time that it may be silent. A server that was itself held up, so that it
heard nothing, has missed one look and not all of them."""
_PATIENCE = 4
"""A task that was stopped may go on for so many times the longest silence: it is not asked in every loop."""


class RemoteWorker(abc.ABC):
    """A `Worker`, except for how messages get there and how it is ended."""

    def __init__(self, name: str, silence_s: float, batch_sizes: collections.Counter[int] | None) -> None:
        """Args:
        name: for the log.
        silence_s: a worker that gives no sign of life for so long is hung.
        batch_sizes: counts the network's calls by their segments.
        """
        self.name = name
        self.resident_bytes, self.processor_s = 0, 0.0
        self._silence_s = silence_s
        self._batch_sizes = collections.Counter[int]() if batch_sizes is None else batch_sizes
        self._in_hand: dict[int, tuple[asyncio.Future[Ended], Control]] = {}
        self._stopping: dict[int, int] = {}
        self._number = self._quiet = 0
        self._connected = self._hung = self._gone = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._loss: asyncio.Future[WorkerLostError] | None = None
        self._is_ready: asyncio.Future[float] | None = None

    @abc.abstractmethod
    async def _connect(self) -> None:
        """Begin to talk to it, on the running event loop.

        Raises:
            WorkerLostError: it has gone.
            UnmingleError: it cannot be used.
        """

    @abc.abstractmethod
    def _messages(self) -> AsyncIterator[Message]:
        """What it says, until it has gone."""

    @abc.abstractmethod
    def _write(self, data: bytes) -> None:
        """Send it a packed message. Does nothing where it has gone, which is noticed elsewhere."""

    @abc.abstractmethod
    def _kill(self) -> None:
        """End it, however stuck it is; its messages end then."""

    @abc.abstractmethod
    async def _bury(self) -> tuple[Reason, str]:
        """Make sure that it has gone, now that its messages have ended; why it has."""

    @abc.abstractmethod
    async def end(self) -> None:
        """See `Worker`."""

    @property
    def alive(self) -> bool:
        """Whether it can be given tasks."""
        return self._connected and not self._hung and not self._gone

    @property
    def _idle(self) -> bool:
        """Whether it is ready and has nothing to do."""
        return not self._in_hand and self._is_ready is not None and self._is_ready.done()

    async def ready(self) -> float:
        """See `Worker`."""
        loop = asyncio.get_running_loop()
        self._loss, self._is_ready = loop.create_future(), loop.create_future()
        await self._connect()
        self._connected = True
        self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._watch()))
        return await self._is_ready

    async def do(self, task: Task[T], control: Control) -> T:
        """See `Worker`."""
        if not self.alive:
            raise await self.lost()
        self._number += 1
        number, ended = self._number, asyncio.get_running_loop().create_future()
        self._in_hand[number] = ended, control
        self._write(packed(Begin(number, pickle.dumps(task, pickle.HIGHEST_PROTOCOL))))
        control.on_stop(lambda: self._stop(number))
        try:
            message: Ended = await ended
        finally:
            control.on_stop(None)
            self._stopping.pop(number, None)
        if message.failure:
            raise _error_of(message.failure)
        if message.result is None:
            raise StoppedError
        result: T = pickle.loads(message.result)
        return result

    async def lost(self) -> WorkerLostError:
        """See `Worker`."""
        if self._loss is None:
            raise RuntimeError("lost() before ready()")
        return await asyncio.shield(self._loss)

    def _stop(self, number: int) -> None:
        if self.alive and number in self._in_hand:
            self._stopping[number] = 0
            self._write(packed(Stop(number)))

    async def _listen(self) -> None:
        """Take what it says, until it has gone."""
        try:
            async for message in self._messages():
                self._quiet = 0
                self._take(message)
        except Exception:
            log.exception("Worker %s cannot be understood", self.name)
        self._gone = True
        self._tasks[1].cancel()
        self._is_lost(*await self._bury())

    def _take(self, message: Message) -> None:
        match message:
            case Beat(resident_bytes, processor_s):
                self.resident_bytes, self.processor_s = resident_bytes, processor_s
            case Progress(number, done) if number in self._in_hand:
                self._in_hand[number][1].done = done
            case Ended(number) if number in self._in_hand:
                self._batch_sizes.update(message.batch_sizes)
                ended, _ = self._in_hand.pop(number)
                if not ended.done():
                    ended.set_result(message)
            case Ready(factor) if self._is_ready and not self._is_ready.done():
                self._is_ready.set_result(factor)
            case Unusable(error) if self._is_ready and not self._is_ready.done():
                self._is_ready.set_exception(error)

    def _is_lost(self, reason: Reason, what: str) -> None:
        if self._hung:
            reason, what = "hung", "hung"
        loss = WorkerLostError(reason, f"worker {self.name} {what}, with {len(self._in_hand)} recordings in hand")
        if self._loss and not self._loss.done():
            self._loss.set_result(loss)
        waiting = [ended for ended, _ in self._in_hand.values()]
        self._in_hand.clear()
        for future in (*waiting, self._is_ready):
            if future and not future.done():
                future.set_exception(loss)

    async def _watch(self) -> None:
        """Kill it when it is silent, or does not stop a task that nobody wants any more."""
        looked, loading_until = self._silence_s / _LOOKS, time.monotonic() + LOADING_S
        while self.alive:
            await asyncio.sleep(looked)
            self._quiet += 1
            for number in self._stopping:
                self._stopping[number] += 1
            is_ready = self._is_ready is not None and self._is_ready.done()
            silent = self._quiet > _LOOKS and (is_ready or time.monotonic() > loading_until)
            if self.alive and (silent or max(self._stopping.values(), default=0) > _PATIENCE * _LOOKS):
                self._hung = True
                self._kill()


def _error_of(failure: Failure) -> Exception:
    if failure.traceback is not None:
        return WorkFailedError(f"in a worker:\n{failure.traceback}")
    return Problem(failure.code, failure.detail, extra=failure.extra, headers=failure.headers)
