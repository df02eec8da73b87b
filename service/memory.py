"""glibc keeps memory in arenas, by default eight per core, and each keeps what it had at its largest."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8
_ARENAS = 2


def bound_arenas() -> None:
    """Use two arenas at the most, unless the environment says how many: memory levels sooner, and lower.

    The separation's large arrays are mapped each for itself and not concerned.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
