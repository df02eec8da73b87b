"""What runs in Ray's own processes: it starts a worker's process on its machine, and passes on what that says.

The worker is the same process as on one machine. So the bytes are the same, a crash in native code is told by its exit
code, and nothing that computes shares a process with Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import ray

from unmingle.service.store.objects import ObjectStore, StoreError
from unmingle.service.version import version
from unmingle.service.workers.launch import launch

_WAIT_S = 1.0
_LOOK_S = 0.5
_LEAVING_S = 5.0
_CHUNK_BYTES = 2**18
_END_S = 20.0
_SCRATCH = "unmingle-worker-"


@dataclasses.dataclass(frozen=True)
class Sign:
    """A file in the server's data directory: whoever finds its content there shares the directory.

    Attributes:
        path: absolute.
        content: that nobody else writes.
    """

    path: Path
    content: str


@dataclasses.dataclass(frozen=True)
class Home:
    """Where a worker lives.

    Attributes:
        node: Ray's id of the machine.
        address: of the machine.
        actor, pid: numbers of the actor's process and the worker's.
        shares: whether the server's data directory is there.
        scratch: the directory of the worker's temporary files.
    """

    node: str
    address: str
    actor: int
    pid: int
    shares: bool
    scratch: Path


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there can be no worker on a machine, and what to do about that."""

    detail: str


class Host:
    """An actor with a worker's process. Its methods block, and may be called beside each other.

    A server that cannot be reached may have given the work to another worker. So the process goes on only as long as
    somebody asks for its news.
    """

    def begin(self, terms: bytes, sign: Sign, store_url: str, server_version: str, patience_s: float) -> Home | Refusal:
        """Start the process.

        Args:
            terms: how it is to work, packed.
            sign: is found in the server's data directory, where the node shares that.
            store_url: of the store through which files go where it does not; empty where there is none.
            server_version: of Unmingle.
            patience_s: the process is killed when nobody has asked for its news for so long.
        """
        context = ray.get_runtime_context()
        address = ray.util.get_node_ip_address()
        if version() != server_version:
            return Refusal(
                f"Unmingle is {version()} on the Ray node {address} and {server_version} on the server. Install the "
                "same version on all nodes."
            )
        fault = _fault_of(sign)
        if fault and not store_url:
            return Refusal(
                f"The Ray node {address} does not share the server's data directory: {fault}. Mount one directory "
                f"under the path {sign.path.parent} on all nodes, where the server's user and Ray's can write, or set "
                "UNMINGLE_STORE_URL to a store that the server and all nodes can reach."
            )
        if fault and (of_store := _fault_of_store(store_url)):
            return Refusal(
                f"The Ray node {address} does not share the server's data directory, and cannot use its store: "
                f"{of_store}"
            )
        scratch = _scratch()
        self._process, self._line = launch(scratch)
        self._line.sendall(terms)
        self._asked_at = time.monotonic()
        threading.Thread(target=self._watch, args=(patience_s, scratch), name="watch", daemon=True).start()
        return Home(context.get_node_id(), address, os.getpid(), self._process.pid, fault is None, scratch)

    def say(self, messages: bytes) -> None:
        """To the process."""
        with contextlib.suppress(OSError):  # it has ended, which `news` tells
            self._line.sendall(messages)

    def news(self) -> tuple[bytes, int | None]:
        """What the process has said since, after waiting a moment for it; and its exit code, after its last word."""
        self._asked_at = time.monotonic()
        heard, _, _ = select.select([self._line], [], [], _WAIT_S)
        if not heard:
            return b"", None
        try:
            data = self._line.recv(_CHUNK_BYTES)
        except ConnectionResetError:
            data = b""
        if data:
            return data, None
        try:
            return b"", self._process.wait(_LEAVING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return b"", self._process.wait()

    def _watch(self, patience_s: float, scratch: Path) -> None:
        while self._process.poll() is None:
            if time.monotonic() - self._asked_at > patience_s:
                self._process.kill()
            time.sleep(min(_LOOK_S, patience_s / 4))
        shutil.rmtree(scratch, ignore_errors=True)


def end(home: Home) -> None:
    """Kill an actor's process and the worker's, however stuck they are, and wait until they have gone. On its node."""
    with contextlib.suppress(ProcessLookupError):
        if b"ray::" in _command(home.actor):
            os.kill(home.actor, signal.SIGKILL)
        if b"unmingle" in _command(home.pid):
            os.kill(home.pid, signal.SIGKILL)
    give_up = time.monotonic() + _END_S
    while (b"ray::" in _command(home.actor) or b"unmingle" in _command(home.pid)) and time.monotonic() < give_up:
        time.sleep(0.01)
    shutil.rmtree(home.scratch, ignore_errors=True)


def _command(process: int) -> bytes:
    """Command line of a process; empty where it has ended, or the system does not tell."""
    if sys.platform != "linux":
        return b""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _scratch() -> Path:
    """A new directory for temporary files; those of workers that have gone are deleted."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        actor = left.name.removeprefix(_SCRATCH).partition("-")[0]
        if actor.isdigit() and b"ray::" not in _command(int(actor)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))


def _fault_of_store(url: str) -> str | None:
    """Why the store is of no use here."""
    try:
        ObjectStore(url)
    except StoreError as error:
        return str(error)
    return None


def _fault_of(sign: Sign) -> str | None:
    """Why the sign's directory is of no use here."""
    try:
        if sign.path.read_text() != sign.content:
            return f"{sign.path} is another server's"
        with tempfile.TemporaryFile(dir=sign.path.parent):
            return None
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
