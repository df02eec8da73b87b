"""The fork server: it has the decoding libraries loaded, and has a process of its own decode each upload.

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
from collections.abc import Sequence
from typing import NoReturn

# In isolated mode, Python does not search the folder that holds the package `unmingle`.
sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])

from unmingle.service.decoding.child import decode_confined, rehearse
from unmingle.service.decoding.limits import TERMS

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def end_with(parent: int) -> None:
    """End when process `parent`, which started this one, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


class Child:
    """A forked process that waits for an upload, decodes it and ends.

    Attributes:
        number: its process number.
        orders: where it gets its upload.
    """

    def __init__(self, number: int, orders: socket.socket) -> None:
        self.number, self.orders = number, orders

    def decode(self, terms: bytes, files: Sequence[int]) -> None:
        """Hand it an upload: its limits, the socket for the report, the file and the empty file.

        Raises:
            OSError: it has ended.
        """
        with self.orders:
            socket.send_fds(self.orders, [terms], files)


class ForkServer:
    """Has a child decode each upload that comes on `line`, until that is closed; belongs to a process of one thread.

    One child always stands by: forking one, and giving up its rights, takes as long as decoding a short upload.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._awake, self._waker = socket.socketpair()  # becomes readable when a child has ended
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._standby: Child | None = None
        self._children: dict[socket.socket, int] = {}
        self._given_up: set[socket.socket] = set()

    def run(self) -> None:
        """Serve until the server ends, or needs no more of us."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        while True:
            self._have_one_stand_by()
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
        standby = [self._standby.number] if self._standby else []
        for child in (*standby, *self._children.values()):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _take(self) -> bool:
        """Have the upload that has come decoded; False at the end of the line."""
        terms, files, *_ = socket.recv_fds(self._line, TERMS.size, 3)
        if not terms:
            return False
        upload = socket.socket(fileno=files[0])
        try:
            self._children[upload] = self._hand_over(terms, files)
        except OSError as error:
            self._tell(upload, json.dumps({"errno": error.errno}), 0)
        for file in files[1:]:
            os.close(file)
        return True

    def _hand_over(self, terms: bytes, files: Sequence[int]) -> int:
        """The number of the child that decodes this upload."""
        child, self._standby = self._standby, None
        if child:
            try:
                child.decode(terms, files)
                return child.number
            except OSError:  # it was killed while it stood by
                os.waitpid(child.number, 0)
        child = self._fork()
        child.decode(terms, files)
        return child.number

    def _have_one_stand_by(self) -> None:
        if not self._standby:
            with contextlib.suppress(OSError):  # no memory for one now; the next upload tries again
                self._standby = self._fork()

    def _fork(self) -> Child:
        parent = os.getpid()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                number = os.fork()
            except OSError:
                ours.close()
                raise
            if number == 0:
                self._be_child(theirs, ours, parent)
        return Child(number, ours)

    def _be_child(self, orders: socket.socket, other_end: socket.socket, parent: int) -> NoReturn:
        """All that a child does."""
        status = 1
        try:
            end_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (other_end, self._line, self._awake, self._waker, *self._children):
                other.close()
            rehearse()
            terms, files, *_ = socket.recv_fds(orders, TERMS.size, 3)
            orders.close()
            if terms:
                report, source, target = files
                decode_confined(source, target, report, TERMS.unpack(terms))
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
    rehearse()
    gc.freeze()  # children share these pages
    with socket.socket(fileno=int(sys.argv[1])) as line:
        forks = ForkServer(line)
        forks.run()
        forks.end()


if __name__ == "__main__":
    main()
