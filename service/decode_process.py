"""The child processes that decode uploads, one for each; one more waits, so that nobody waits for its start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import sys
from pathlib import Path

from service.decode_limits import DecodeLimits
from service.settings import loader_environment

CHILD = Path(__file__).with_name("decode_child.py")

_MAX_REPORT_BYTES = 4096


class DecodeProcess:
    """One process of service.decode_child; it decodes one upload, and ends."""

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self._process, self._line = process, line

    @classmethod
    async def start(cls) -> DecodeProcess:
        """Start one; it loads its libraries, and waits for an upload."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    str(CHILD),
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=loader_environment(),
                )
            except BaseException:
                ours.close()
                raise
        return cls(process, ours)

    def give(self, upload: Path, samples: Path, limits: DecodeLimits) -> bool:
        """Hand it its upload, and the new file for its samples; False where it is gone already."""
        if self._process.returncode is not None:
            return False
        terms = (limits.max_seconds, limits.max_bytes, limits.memory_bytes, math.ceil(limits.timeout_s))
        with upload.open("rb") as source, samples.open("wb") as target:
            try:
                socket.send_fds(self._line, [json.dumps(terms).encode()], [source.fileno(), target.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    async def report(self) -> tuple[bytes, int]:
        """What it says once it has ended, and its exit code."""
        report = b""
        assert self._process.stderr
        while len(report) < _MAX_REPORT_BYTES and (more := await self._process.stderr.read(_MAX_REPORT_BYTES)):
            report += more
        if len(report) >= _MAX_REPORT_BYTES:
            self._process.kill()
        return report, await self._process.wait()

    async def end(self) -> None:
        """See that it is gone, whatever it does."""
        self._line.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            # Read to the end, too: only then is the pipe closed.
            await asyncio.shield(self._process.communicate())


class DecodeProcesses:
    """Gives out processes; once it is told to, keeps one in store. Belongs to one event loop."""

    def __init__(self) -> None:
        self._keeps = False
        self._spare: DecodeProcess | None = None
        self._starting: asyncio.Task[None] | None = None

    def keep_one(self) -> None:
        """From now on, have one ready before it is asked for."""
        self._keeps = True
        self.refill()

    def refill(self) -> None:
        """Start the next one, unless there is one."""
        if self._keeps and self._spare is None and (self._starting is None or self._starting.done()):
            self._starting = asyncio.create_task(self._start())

    async def hand_over(self, upload: Path, samples: Path, limits: DecodeLimits) -> DecodeProcess:
        """A process that has been given its upload."""
        spare, self._spare = self._spare, None
        if spare:
            if spare.give(upload, samples, limits):
                return spare
            await spare.end()  # somebody killed it while it waited
        process = await DecodeProcess.start()
        process.give(upload, samples, limits)
        return process

    async def stop(self) -> None:
        """End the one in store."""
        self._keeps = False
        if self._starting:
            await asyncio.wait({self._starting})
        spare, self._spare = self._spare, None
        if spare:
            await spare.end()

    async def _start(self) -> None:
        with contextlib.suppress(OSError):  # no memory for one now; the next upload will say so if that lasts
            self._spare = await DecodeProcess.start()
