"""What a decoder might try that a file has taken over. Run as a script: confines itself, tries each, and tells.

Arguments: how to be confined ("not", "Landlock", "seccomp" or "Landlock,seccomp"), a folder with a file `victim` and
the port of a server. Writes an object of JSON: for each attempt the name of the error that it met, or "done".
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from unmingle.service.decoding import confinement

_NUMBERS = {"x86_64": {"ptrace": 101, "io_uring_setup": 425}, "aarch64": {"ptrace": 117, "io_uring_setup": 425}}
_PTRACE_SEIZE = 0x4206


def attempts(folder: Path, port: int) -> dict[str, Callable[[], object]]:
    """By name; those that would end this process, or begin another, come last."""
    numbers = _NUMBERS[platform.machine()]
    return {
        "read a file": lambda: Path("/etc/passwd").read_bytes(),
        "list a folder": lambda: os.listdir("/"),
        "write a file": lambda: (folder / "new").write_bytes(b"x"),
        "change a file": lambda: os.truncate(folder / "victim", 0),
        "delete a file": lambda: os.unlink(folder / "victim"),
        "make a folder": lambda: os.mkdir(folder / "made"),
        "connect": lambda: socket.create_connection(("127.0.0.1", port), timeout=5),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "signal": lambda: os.kill(os.getppid(), 0),
        "limit another": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0)),
        "trace": lambda: system_call(numbers["ptrace"], _PTRACE_SEIZE, os.getppid(), None, None),
        "io_uring": lambda: system_call(numbers["io_uring_setup"], 1, ctypes.create_string_buffer(120)),
        "start a thread": lambda: threading.Thread(target=int).start(),
        "fork": fork,
        "execute": lambda: os.execv("/bin/true", ["/bin/true"]),
    }


def system_call(number: int, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def fork() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except RuntimeError as error:  # what Python makes of a thread that cannot be started
        return str(error)
    return "done"


def main() -> None:
    layers, folder, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    signal.alarm(60)
    told = mmap.mmap(-1, 2**16)  # where the outcomes are left for the one that watches, whatever becomes of this one
    watched = os.fork()
    if watched == 0:
        if layers != "not":
            confinement.in_force = lambda: tuple(layers.split(","))  # type: ignore[assignment]
            confinement.confine()
        outcomes: dict[str, str] = {}
        for name, attempt in attempts(folder, port).items():
            outcomes[name] = "done"  # `execute` does not come back where it can be done
            told[:] = json.dumps(outcomes).encode().ljust(len(told))
            outcomes[name] = outcome(attempt)
        told[:] = json.dumps(outcomes).encode().ljust(len(told))
        os._exit(0)
    os.waitpid(watched, 0)
    print(told[:].decode().strip())


if __name__ == "__main__":
    main()
