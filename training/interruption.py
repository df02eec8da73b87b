"""Ctrl-C and SIGTERM as a wish that the loop sees after each step, so that no step is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Whether the run was asked to stop.

    Attributes:
        signal_number: which signal asked, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0

    @property
    def exit_code(self) -> int:
        """As shells expect it of a process that a signal ended: 130 after Ctrl-C."""
        return 128 + self.signal_number if self else 0


@contextmanager
def heed_interruptions() -> Iterator[Interruption]:
    """Inside, the first SIGINT or SIGTERM only sets the interruption; a second one acts as usual."""
    wish = Interruption()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        wish.signal_number = number
        _install(usual)

    for number in usual:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        _install(usual)


def _install(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
