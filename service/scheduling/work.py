"""One recording's work, as the engine sees it, and how to control it while it runs."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from unmingle.model.separator import Separator

T = TypeVar("T")

Lane = Literal["requests", "jobs"]
"""requests: a client waits for the answer; jobs: nobody does. Each lane has workers of its own."""

LANES: tuple[Lane, ...] = ("requests", "jobs")


class StoppedError(Exception):
    """The work was asked to stop, and did."""


class Control:
    """Controls work on another thread: the work calls it with its progress, and stops there if asked to."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.done = 0.0

    def __call__(self, done: float) -> None:
        """Note the progress, 0 to 1.

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
        lane: whose workers do it.
        control: stops the work and tells its progress.
    """

    run: Callable[[Separator, Control], T]
    audio_seconds: float
    lane: Lane = "requests"
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
