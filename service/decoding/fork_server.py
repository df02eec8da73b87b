"""The fork server: it has the decoding libraries loaded, and forks a process for each upload.

processes.py starts it as a script, with the number of a socket on which it waits for uploads. Each upload comes with
its limits, a socket of its own, the file and an empty file. A forked child reads the one file, fills the other and
writes a report to its socket; this process never reads an upload. After the child has ended, a line with its exit code
follows. Shutting down the other end of the socket kills the child: only its parent can be sure that the process number
still belongs to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import NoReturn

# In isolated mode, Python does not search the folder that holds the package `unmingle`.
sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])

from unmingle.service.decoding.child import decode_confined
from unmingle.service.decoding.limits import TERMS

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def end_with(parent: int) -> None:
    """End when process `parent`, which started this one, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


class ForkServer:
    """Forks a child for each upload that comes on `line`, until that is closed; belongs to a process of one thread."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._awake, self._waker = socket.socketpair()  # becomes readable when a child has ended
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._children: dict[socket.socket, int] = {}
        self._given_up: set[socket.socket] = set()

    def run(self) -> None:
        """Serve until the server ends, or needs no more of us."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._line, self._awake, *self._children.keys() - self._given_up], [], [])
            for readable in ready:
                if readable is self._awake:
                    self._awake.recv(4096)
                elif readable is not self._line:  # nothing is ever sent there, so it was shut down
                    self._given_up.add(readable)
                    os.kill(self._children[readable], signal.SIGKILL)
                elif not self._take():
                    return
            self._reap()

    def end(self) -> None:
        """Kill all children."""
        for child in self._children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _take(self) -> bool:
        """Fork for the upload that has come; False at the end of the line."""
        terms, files, *_ = socket.recv_fds(self._line, TERMS.size, 3)
        if not terms:
            return False
        upload, parent = socket.socket(fileno=files[0]), os.getpid()
        try:
            child = os.fork()
        except OSError as error:
            self._tell(upload, json.dumps({"errno": error.errno}), 0)
        else:
            if child == 0:
                self._decode(upload, files[1], files[2], terms, parent)
            self._children[upload] = child
        for file in files[1:]:
            os.close(file)
        return True

    def _decode(self, upload: socket.socket, source: int, target: int, terms: bytes, parent: int) -> NoReturn:
        """All that the child does."""
        status = 1
        try:
            end_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self._line, self._awake, self._waker, *self._children):
                other.close()
            decode_confined(source, target, upload.fileno(), TERMS.unpack(terms))
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        for upload, child in list(self._children.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del self._children[upload]
                self._given_up.discard(upload)
                self._tell(upload, "", os.waitstatus_to_exitcode(status))

    @staticmethod
    def _tell(upload: socket.socket, report: str, exit_code: int) -> None:
        with upload, contextlib.suppress(OSError):  # the server has gone, or the child has filled the buffer
            upload.send(f"{report}\n{exit_code}".encode(), socket.MSG_DONTWAIT)


def main() -> None:
    """Be a fork server."""
    end_with(os.getppid())
    for by_terminal_or_supervisor in (signal.SIGINT, signal.SIGTERM):
        signal.signal(by_terminal_or_supervisor, signal.SIG_IGN)  # the server ends this process after its last work
    gc.freeze()  # children share these pages
    with socket.socket(fileno=int(sys.argv[1])) as line:
        forks = ForkServer(line)
        forks.run()
        forks.end()


if __name__ == "__main__":
    main()
