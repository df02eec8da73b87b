"""One recording's work, as the engine sees it, and how to control it while it runs."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from unmingle.service.tracing import Traced

if TYPE_CHECKING:  # the front of the server names it only: it loads neither ONNX Runtime nor a model
    from unmingle.model.separator import Separator

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Lane = Literal["requests", "jobs", "parts", "packing", "views"]
"""requests: a client waits for the answer; jobs: nobody does; parts: of a job that many workers share; packing: stems
that are there are sent in another form; views: pictures of what was heard, which take no time. Each lane has places of
its own; that of parts has one with every worker."""

LANES: tuple[Lane, ...] = ("requests", "jobs", "parts", "packing", "views")


class StoppedError(Exception):
    """The work was asked to stop, and did."""


class Control:
    """Controls work that runs elsewhere: it is called with the progress, and stops the work there if asked to."""

    def __init__(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Args:
        on_progress: called with every progress, here or from where the work is.
        """
        self._stop = threading.Event()
        self._on_progress = on_progress
        self._on_stop: Callable[[], None] | None = None
        self._done = 0.0

    def __call__(self, done: float) -> None:
        """Note the progress, 0 to 1.

        Raises:
            StoppedError: the work was asked to stop.
        """
        self.done = done
        if self._stop.is_set():
            raise StoppedError

    @property
    def done(self) -> float:
        """The progress, 0 to 1."""
        return self._done

    @done.setter
    def done(self, done: float) -> None:
        self._done = done
        if self._on_progress:
            self._on_progress(done)

    @property
    def stopped(self) -> bool:
        """Whether the work was asked to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to stop."""
        self._stop.set()
        if self._on_stop:
            self._on_stop()

    def on_stop(self, call: Callable[[], None] | None) -> None:
        """Have `call` pass the request to stop on to where the work is; None once it is there no more."""
        self._on_stop = call
        if call and self.stopped:
            call()


@dataclasses.dataclass(frozen=True)
class Files:
    """A file, or all files in a directory and its directories; it need not be there.

    Attributes:
        path: of the file or the directory.
        start, end: bytes of each of them that matter, the others are somebody else's; all where `end` is None.
    """

    path: Path
    start: int = 0
    end: int | None = None


@dataclasses.dataclass(frozen=True)
class TaskFiles:
    """Attributes:
    reads: what there has to be before a task is run.
    writes: what there is more of afterwards. A directory is made anew, unless only some bytes of its files matter.
    """

    reads: Sequence[Files]
    writes: Sequence[Files] = ()


class Task(Protocol[T_co]):
    """What a worker is to do: a picklable object, whose class says what and whose attributes say with which files.

    Samples and stems are files. What it gives is small and picklable, too. It may be run twice, if a worker dies.
    """

    @property
    def files(self) -> TaskFiles:
        """What it reads and writes, for a worker that has another disk."""
        ...

    def run(self, separator: Separator, control: Control) -> T_co:
        """Do it, in a worker; calls `control` now and then."""
        ...


@dataclasses.dataclass(frozen=True)
class Work(Generic[T]):
    """One recording to separate.

    Attributes:
        task: what to do.
        audio_seconds: length of the recording.
        lane: whose workers do it.
        control: stops the work and tells its progress.
    """

    task: Task[T]
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
        suspect: whether a worker died that had it in hand, among others.
        waits: in the trace, its time in the queue.
    """

    work: Work[Any]
    result: asyncio.Future[Any]
    submitted: float
    queued_s: float | None = None
    charged_s: float = 0.0
    suspect: bool = False
    waits: Traced = dataclasses.field(default_factory=Traced)
