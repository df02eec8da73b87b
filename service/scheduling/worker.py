"""What the engine expects of a worker, wherever that is: a process here, or one on another machine."""

from __future__ import annotations

from typing import Literal, Protocol, TypeVar

from unmingle.service.scheduling.work import Control, Task

T = TypeVar("T")

Reason = Literal["killed", "crashed", "ended", "hung", "node"]
"""Why a worker was lost: SIGKILL (which is what the kernel sends when memory runs out), another signal, an exit of its
own, silence, or because its machine in a cluster has gone."""

REASONS: tuple[Reason, ...] = ("killed", "crashed", "ended", "hung", "node")


class WorkerLostError(Exception):
    """The worker has gone; it does nothing any more.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class WorkFailedError(Exception):
    """The work failed, by no fault of the request; the message has the traceback of the worker."""


class Worker(Protocol):
    """Has the model, and does several tasks at a time. Belongs to one event loop."""

    @property
    def alive(self) -> bool:
        """Whether it can be given tasks."""
        ...

    @property
    def resident_bytes(self) -> int:
        """What it holds of memory, of late."""
        ...

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that it has taken, of late."""
        ...

    async def ready(self) -> float:
        """Wait until it has run the model once; the processing seconds per second of audio.

        Raises:
            WorkerLostError: it has gone.
            UnmingleError: it cannot use the model.
        """
        ...

    async def do(self, task: Task[T], control: Control) -> T:
        """What the task gives; `control` gets the progress, and passes on the request to stop.

        Raises:
            Problem: the request cannot be answered.
            StoppedError: it was asked to stop.
            WorkFailedError: something else went wrong.
            WorkerLostError: the worker has gone, and writes nothing any more.
        """
        ...

    async def lost(self) -> WorkerLostError:
        """Wait until it has gone."""
        ...

    async def end(self) -> None:
        """End it now, whatever it does."""
        ...
