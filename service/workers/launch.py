"""Starts the process of a worker, and says how it ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from unmingle.service.scheduling.worker import Reason
from unmingle.service.settings import worker_environment

PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "unmingle.service.workers.process")
"""Run with the number of its socket and that of the process that it ends with."""


def launch(scratch: Path | None = None) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process; it ends with this one. The socket is our end of the line to it.

    Args:
        scratch: the directory for its temporary files, where it is to have one of its own.
    """
    line, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*PROGRAM, str(theirs.fileno()), str(os.getpid())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            # NumPy's threads would wait for work on the cores that the network uses, see unmingle.service.cli.command.
            env={
                "OPENBLAS_NUM_THREADS": "1",
                **worker_environment(),
                **({} if scratch is None else {"TMPDIR": str(scratch)}),
            },
        )
    return process, line


def how_it_ended(code: int) -> tuple[Reason, str]:
    """In one word and in a few, from the exit code that subprocess gives."""
    if code >= 0:
        return "ended", f"ended with exit code {code}"
    if -code == signal.SIGKILL:
        return "killed", "was killed; was there enough memory?"
    return "crashed", f"crashed ({signal.strsignal(-code)})"
