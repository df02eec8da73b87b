"""Computing threads run at a lower priority than those that answer, here and in the server."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_NICE = 5


def stand_back() -> None:
    """Lower the priority of the calling thread; threads that it starts inherit that."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICE
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice))


def call_standing_back(function: Callable[[], T]) -> T:
    """What `function` returns, called on a thread of lower priority."""

    def call() -> T:
        stand_back()
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
