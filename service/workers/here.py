"""A worker that is a process on this machine, as the server sees it: started, talked to, watched and ended."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from typing import TypeVar

from unmingle.model.errors import ModelError
from unmingle.service.problems import Problem
from unmingle.service.scheduling.work import Control, StoppedError, Task
from unmingle.service.scheduling.worker import Reason, WorkerLostError, WorkFailedError
from unmingle.service.settings import worker_environment
from unmingle.service.workers.messages import (
    Beat,
    Begin,
    Ended,
    Failure,
    Line,
    Loaded,
    Message,
    ModelFacts,
    Progress,
    Ready,
    Stop,
    Terms,
    Unusable,
    next_of,
    packed,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "unmingle.service.workers.process")
"""Run with the number of its socket and that of the server's process."""

LOADING_S = 300.0
"""Longest time until a worker has the model."""

_LOOKS = 5
"""How often a worker is looked at within the time that it may be silent. A server that was itself held up, so that it
heard nothing, has missed one look and not all of them."""
_PATIENCE = 4
"""A task that was stopped may go on for so many times the longest silence: it is not asked in every loop."""
_LEAVING_S = 5.0


class HereWorker:
    """One process of unmingle.service.workers.process. A `Worker`; belongs to one event loop once that has begun."""

    def __init__(self, terms: Terms, silence_s: float, batch_sizes: collections.Counter[int] | None = None) -> None:
        """Start the process.

        Args:
            terms: how it is to work.
            silence_s: a worker that gives no sign of life for so long is hung.
            batch_sizes: counts the network's calls by their segments.
        """
        self._silence_s = silence_s
        self._batch_sizes = collections.Counter[int]() if batch_sizes is None else batch_sizes
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*PROGRAM, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=worker_environment(),
            )
        self.pid = self._process.pid
        # Also where no event loop ever begins with it.
        self._finalizer = weakref.finalize(self, _end, self._process, self._line)
        with contextlib.suppress(OSError):  # it has ended already, which is seen as soon as it is listened to
            self._line.sendall(packed(terms))
        self.resident_bytes, self.processor_s = 0, 0.0
        self._in_hand: dict[int, tuple[asyncio.Future[Ended], Control]] = {}
        self._stopping: dict[int, int] = {}
        self._number = self._quiet = 0
        self._hung = self._gone = self._leaves = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._writer: asyncio.StreamWriter | None = None
        self._loss: asyncio.Future[WorkerLostError] | None = None
        self._is_ready: asyncio.Future[float] | None = None

    @property
    def alive(self) -> bool:
        """Whether it can be given tasks."""
        return self._writer is not None and not self._hung and not self._gone

    def facts(self) -> ModelFacts:
        """What model it has. Blocking; before an event loop begins with it, and once.

        Raises:
            ModelError: it cannot use the model, or has gone.
        """
        self._line.settimeout(LOADING_S)
        line = Line(self._line)
        try:
            while not isinstance(message := line.receive(), Loaded | Unusable):
                pass
        except TimeoutError as error:
            self._finalizer()
            raise ModelError(f"The process that loads the model has not done so in {LOADING_S:g} s.") from error
        except EOFError as error:
            self._finalizer()
            raise ModelError(f"The process that loads the model {_ended(self._process)[1]}.") from error
        if isinstance(message, Unusable):
            self._finalizer()
            raise message.error
        return message.facts

    async def ready(self) -> float:
        """See `Worker`."""
        loop = asyncio.get_running_loop()
        self._loss, self._is_ready = loop.create_future(), loop.create_future()
        reader, self._writer = await asyncio.open_connection(sock=self._line)
        self._tasks = (asyncio.create_task(self._listen(reader)), asyncio.create_task(self._watch()))
        return await self._is_ready

    async def do(self, task: Task[T], control: Control) -> T:
        """See `Worker`."""
        if not self.alive or self._writer is None:
            raise await self.lost()
        self._number += 1
        number, ended = self._number, asyncio.get_running_loop().create_future()
        self._in_hand[number] = ended, control
        self._writer.write(packed(Begin(number, pickle.dumps(task, pickle.HIGHEST_PROTOCOL))))
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

    async def end(self) -> None:
        """See `Worker`. One that does nothing may leave by itself."""
        self._leaves = not self._in_hand and self._is_ready is not None and self._is_ready.done()
        if self._writer:
            self._writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._finalizer)

    def _stop(self, number: int) -> None:
        if self.alive and self._writer and number in self._in_hand:
            self._stopping[number] = 0
            self._writer.write(packed(Stop(number)))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take what it says, until it has gone."""
        try:
            while True:
                message = await next_of(reader)
                self._quiet = 0
                self._take(message)
        except (EOFError, OSError):
            pass
        except Exception:
            log.exception("Worker %d cannot be understood", self.pid)
        self._gone = True
        self._tasks[1].cancel()
        if self._writer:
            self._writer.close()
        await asyncio.to_thread(self._wait_or_kill)
        self._is_lost()

    def _wait_or_kill(self) -> None:
        if self._leaves:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVING_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

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

    def _is_lost(self) -> None:
        reason, what = _ended(self._process)
        if self._hung:
            reason, what = "hung", "hung"
        loss = WorkerLostError(reason, f"worker {self.pid} {what}, with {len(self._in_hand)} recordings in hand")
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
                self._process.kill()


def _ended(process: subprocess.Popen[bytes]) -> tuple[Reason, str]:
    code = process.returncode or 0
    if code >= 0:
        return "ended", f"ended with exit code {code}"
    if -code == signal.SIGKILL:
        return "killed", "was killed; was there enough memory?"
    return "crashed", f"crashed ({signal.strsignal(-code)})"


def _error_of(failure: Failure) -> Exception:
    if failure.traceback is not None:
        return WorkFailedError(f"in a worker:\n{failure.traceback}")
    return Problem(failure.code, failure.detail, extra=failure.extra, headers=failure.headers)


def _end(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    """Make sure that the process is gone."""
    line.close()
    if process.poll() is None:
        process.kill()
        process.wait()
