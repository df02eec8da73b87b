"""What a decoder gives up before it reads the first byte of an upload, so that a file that takes it over gains nothing.

Landlock takes away every file that is not open yet, TCP, and signals to other processes. seccomp takes away all system
calls but those that decoding from one open file to another needs: no file is opened, no socket made, no program
started, no process forked, traced or signalled. Both are features of Linux, reached here without a library: the Python
bindings of Landlock are at an early stage, those of libseccomp need a library that slim images do not have, and there
are no rules to write, since nothing is allowed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
import sys
from typing import Final

LAYERS = ("Landlock", "seccomp")

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 21, 22, 38
_SECCOMP_MODE_FILTER = 2

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_LANDLOCK_CREATE_RULESET_VERSION = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights on files there are, by the version of Landlock that has so many first."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

_ALLOWED: Final = {
    # what: (its number on x86_64, on aarch64)
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),  # glibc's fstat; it also tells the size and date of a path
    "statx": (332, 291),  # the same
    "dup": (32, 23),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""What seccomp calls them, and which of the numbers above are theirs."""

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@functools.cache
def in_force() -> tuple[str, ...]:
    """Those of LAYERS that this system offers, and that decoders therefore have."""
    if sys.platform != "linux":
        return ()
    offered = _landlock_version() > 0, _has_seccomp()
    return tuple(layer for layer, there in zip(LAYERS, offered, strict=True) if there)


def prepare() -> None:
    """Find out now what `confine` needs to know, so that forked processes have it already."""
    if "seccomp" in in_force():
        _filter()


def confine() -> None:
    """Give up, for good, what decoding does not need; the process must have one thread only.

    Raises:
        OSError: the kernel offers it and refuses. Nothing may then be decoded here.
    """
    offered = in_force()
    if offered:
        _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if "Landlock" in offered:
        _give_up_files(_landlock_version())
    if "seccomp" in offered:
        _give_up_system_calls()


def _give_up_files(version: int) -> None:
    """All that Landlock knows of, everywhere: a set of rules without a rule."""
    rights = max(count for since, count in _FILE_RIGHTS.items() if since <= version)
    rules = struct.pack("=Q", 2**rights - 1)
    if version >= _TCP_SINCE:
        rules += struct.pack("=Q", _BIND_AND_CONNECT)
    if version >= _SCOPES_SINCE:
        rules += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = _checked(_libc().syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0), "Landlock")
    _checked(_libc().syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _give_up_system_calls() -> None:
    program = _Program(len(_filter()) // 8, _filter())
    _checked(_libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


@functools.cache
def _filter() -> bytes:
    """For the kernel: the architecture is ours and the number is allowed, or the call fails with EPERM."""
    architecture, column = _ARCHITECTURES[platform.machine()]
    numbers = [number[column] for number in _ALLOWED.values()]
    number_at, architecture_at = 0, 4  # in struct seccomp_data
    filter_ = _instruction(_LOAD, architecture_at)
    filter_ += _instruction(_JUMP_IF_EQUAL, architecture, otherwise=len(numbers) + 1)
    filter_ += _instruction(_LOAD, number_at)
    for left, number in zip(reversed(range(len(numbers))), numbers, strict=True):
        filter_ += _instruction(_JUMP_IF_EQUAL, number, then=left + 1)
    return filter_ + _instruction(_RETURN, _REFUSE) + _instruction(_RETURN, _ALLOW)


def _instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """One of classic BPF; jumps count from the next one."""
    return struct.pack("=HBBI", code, then, otherwise, value)


@functools.cache
def _landlock_version() -> int:
    """0 where the kernel has none, or does not let us."""
    size = ctypes.c_size_t(0)
    return max(0, int(_libc().syscall(_LANDLOCK_CREATE_RULESET, None, size, _LANDLOCK_CREATE_RULESET_VERSION)))


def _has_seccomp() -> bool:
    known = platform.machine() in _ARCHITECTURES and sys.maxsize > 2**32
    return known and _libc().prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
