"""A worker that is a process on this machine, as the server sees it: started, talked to, and ended."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import subprocess
import weakref
from collections.abc import AsyncIterator

from unmingle.model.errors import ModelError
from unmingle.service.scheduling.worker import Reason
from unmingle.service.workers.launch import how_it_ended, launch
from unmingle.service.workers.messages import Line, Loaded, Message, ModelFacts, Terms, Unusable, next_of, packed
from unmingle.service.workers.remote import LOADING_S, RemoteWorker

_LEAVING_S = 5.0


class HereWorker(RemoteWorker):
    """One process of unmingle.service.workers.process. A `Worker`; belongs to one event loop once that has begun."""

    def __init__(self, terms: Terms, silence_s: float, batch_sizes: collections.Counter[int] | None = None) -> None:
        """Start the process.

        Args:
            terms: how it is to work.
            silence_s: a worker that gives no sign of life for so long is hung.
            batch_sizes: counts the network's calls by their segments.
        """
        self._process, self._line = launch()
        self.pid = self._process.pid
        super().__init__(str(self.pid), silence_s, batch_sizes)
        # Also where no event loop ever begins with it.
        self._finalizer = weakref.finalize(self, _end, self._process, self._line)
        with contextlib.suppress(OSError):  # it has ended already, which is seen as soon as it is listened to
            self._line.sendall(packed(terms))
        self._leaves = False
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

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
            _, what = how_it_ended(self._process.returncode or 0)
            raise ModelError(f"The process that loads the model {what}.") from error
        if isinstance(message, Unusable):
            self._finalizer()
            raise message.error
        return message.facts

    async def end(self) -> None:
        """See `Worker`. One that does nothing may leave by itself."""
        self._leaves = self._idle
        if self._streams:
            self._streams[1].close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._finalizer)

    async def _connect(self) -> None:
        self._streams = await asyncio.open_connection(sock=self._line)

    async def _messages(self) -> AsyncIterator[Message]:
        if self._streams:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    yield await next_of(self._streams[0])

    def _write(self, data: bytes) -> None:
        if self._streams:
            self._streams[1].write(data)

    def _kill(self) -> None:
        self._process.kill()

    async def _bury(self) -> tuple[Reason, str]:
        if self._streams:
            self._streams[1].close()
        await asyncio.to_thread(self._wait_or_kill)
        return how_it_ended(self._process.returncode or 0)

    def _wait_or_kill(self) -> None:
        if self._leaves:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVING_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _end(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    """Make sure that the process is gone."""
    line.close()
    if process.poll() is None:
        process.kill()
        process.wait()
