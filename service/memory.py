"""Keeps the process small: glibc by itself has eight arenas per core, and each keeps the memory of its peak."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_M_ARENA_MAX = -8
_ARENAS = 2


def bound_arenas() -> None:
    """Use at most two arenas, unless the environment says how many, so that memory levels off sooner and lower.

    Large arrays are not affected: each is mapped on its own.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give memory that is free to the operating system; some milliseconds, for when there is nothing else to do."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """What this process holds of memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
