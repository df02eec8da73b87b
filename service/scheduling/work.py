"""One recording's work, as the engine sees it, and the line to it while it runs."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from unmingle.model.separator import Separator

T = TypeVar("T")


class StoppedError(Exception):
    """The work was asked to stop, and did."""


class Control:
    """The line to work on another thread: the work calls it with the part it has done, and stops there if asked to."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.done = 0.0

    def __call__(self, done: float) -> None:
        """Take note of the part that is done, 0 to 1.

        Raises:
            StoppedError: the work was asked to stop.
        """
        self.done = done
        if self._stop.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Ask the work to stop."""
        self._stop.set()


@dataclasses.dataclass(frozen=True)
class Work(Generic[T]):
    """One recording to separate.

    Attributes:
        run: called on a worker thread with the separator and a control, which it is to call now and then.
        audio_seconds: length of the recording.
        audio_bytes: decoded.
        timeout_s: from submission to the result; None waits as long as it takes.
        owner: whose share of the queue this counts against.
        control: stops the work and tells its progress.
    """

    run: Callable[[Separator, Control], T]
    audio_seconds: float
    audio_bytes: int
    timeout_s: float | None
    owner: str = ""
    control: Control = dataclasses.field(default_factory=Control)


@dataclasses.dataclass(eq=False)
class Ticket:
    """Work in the engine.

    Attributes:
        result: what it gives, or its failure.
        queued_s: how long it waited for a worker; None while it does.
        charged_s: seconds of processing, those in which several ran divided among them.
    """

    work: Work[Any]
    result: concurrent.futures.Future[Any]
    submitted: float
    queued_s: float | None = None
    charged_s: float = 0.0
