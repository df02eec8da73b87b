"""The processes that decode uploads: one per upload, forked by a server that is started beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from unmingle.service.decoding.limits import DecodeLimits
from unmingle.service.settings import loader_environment

_SCRIPT = Path(__file__).with_name("fork_server.py")
_MAX_REPORT_BYTES = 4096
_PATIENCE_S = 5.0


class ForkServerLostError(Exception):
    """The fork server ended while it had the upload."""


class ForkServerProcess:
    """One process of unmingle.service.decoding.fork_server."""

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self._process, self._line = process, line
        self.uploads = 0
        """How many it is decoding."""

    @classmethod
    async def start(cls) -> ForkServerProcess:
        """Start one. Uploads that come while it loads its libraries wait in the socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    str(_SCRIPT),
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # so that its orphans can be told from other processes
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,  # decoders write messages there
                    env=loader_environment(),
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return cls(process, ours)

    def fork(self, upload: Path, samples: Path, limits: DecodeLimits) -> DecodeProcess:
        """Have an upload decoded into the new file `samples`; if the server has gone, `report` raises."""
        with upload.open("rb") as source, samples.open("wb") as target:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with theirs, contextlib.suppress(OSError):
                files = [theirs.fileno(), source.fileno(), target.fileno()]
                socket.send_fds(self._line, [limits.terms()], files)
        return DecodeProcess(self, ours)

    async def end(self) -> None:
        """Kill it; its children end, too."""
        self._line.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.to_thread(_reap_group, self._process.pid)


def _reap_group(group: int) -> None:
    """Reap orphans: in a container this process is process 1 and inherits them, and they stay zombies until it does.

    They are being killed already: they asked the kernel for that if the fork server ends before them.
    """
    with contextlib.suppress(ChildProcessError):  # none left, or another process inherits them
        while True:
            os.waitpid(-group, 0)


class DecodeProcess:
    """A child of the fork server; it decodes one upload, and ends."""

    def __init__(self, server: ForkServerProcess, line: socket.socket) -> None:
        self._server, self._line = server, line
        self.suspect = False
        """Whether the fork server should be replaced, because it failed or its memory layout may be known."""

    async def report(self) -> tuple[bytes, int]:
        """Its report and exit code, once it has ended.

        Raises:
            ForkServerLostError: nobody knows how it ended.
        """
        received = b""
        while more := await self._receive():
            received += more
            if len(received) >= _MAX_REPORT_BYTES:
                return received, -signal.SIGKILL  # see `end`
        report, _, last_line = received.rpartition(b"\n")
        try:
            exit_code = int(last_line)
        except ValueError:
            self.suspect = True
            raise ForkServerLostError from None
        # Children are copies: a crash may tell an attacker about the memory layout of the next one.
        self.suspect = exit_code < 0 and -exit_code not in (signal.SIGKILL, signal.SIGXCPU)
        return report, exit_code

    async def end(self) -> None:
        """Make sure that it is gone, whatever it does."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while await self._receive():
                    pass
        except TimeoutError:  # the fork server hangs
            self.suspect = True
            await self._server.end()
        self._line.close()

    async def _receive(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._line, _MAX_REPORT_BYTES)
        except ConnectionResetError:
            return b""


class DecodeProcesses:
    """Has uploads decoded by a fork server, which `keep_one` keeps running between uploads.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._keeps = False
        self._server: ForkServerProcess | None = None
        self._one_starts = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None

    def keep_one(self) -> None:
        """From now on, keep a fork server running."""
        self._keeps = True
        self._starting = asyncio.create_task(self._start())

    @contextlib.asynccontextmanager
    async def decoding(self, upload: Path, samples: Path, limits: DecodeLimits) -> AsyncIterator[DecodeProcess]:
        """A process that decodes the upload; it has ended when the context is left."""
        server = await self._ready()
        server.uploads += 1
        process: DecodeProcess | None = None
        try:
            process = server.fork(upload, samples, limits)
            yield process
        finally:
            await asyncio.shield(self._leave(server, process))

    async def stop(self) -> None:
        """End the fork server once it has no uploads left."""
        self._keeps = False
        if self._starting:
            await asyncio.wait({self._starting})
        await self._end_if_idle(self._server)

    async def _ready(self) -> ForkServerProcess:
        async with self._one_starts:
            if self._server is None:
                self._server = await ForkServerProcess.start()
            return self._server

    async def _start(self) -> None:
        with contextlib.suppress(OSError):  # no memory for one now; if that lasts, the next upload fails with it
            await self._ready()

    async def _leave(self, server: ForkServerProcess, process: DecodeProcess | None) -> None:
        if process:
            await process.end()
        server.uploads -= 1
        if process and process.suspect and server is self._server:
            self._server = None
            if self._keeps:
                self.keep_one()
        await self._end_if_idle(server)

    async def _end_if_idle(self, server: ForkServerProcess | None) -> None:
        if server and not server.uploads and not (self._keeps and server is self._server):
            if server is self._server:
                self._server = None
            await server.end()
