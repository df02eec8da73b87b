"""A task whose trace goes on in the worker."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Generic, TypeVar

from unmingle.service import tracing
from unmingle.service.scheduling.work import Control, Task, TaskFiles

if TYPE_CHECKING:
    from unmingle.model.separator import Separator

T = TypeVar("T")

SERVICE = "unmingle-worker"


@dataclasses.dataclass(frozen=True)
class TracedTask(Generic[T]):
    """Another task, done within a span of the worker.

    Attributes:
        task: what is to be done.
        traceparent: of the span that it belongs to.
        url: where the worker sends its spans.
    """

    task: Task[T]
    traceparent: str
    url: str

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return self.task.files

    def run(self, separator: Separator, control: Control) -> T:
        """See `Task`."""
        tracing.configure(self.url, SERVICE)
        name = type(self.task).__name__
        with tracing.span("work", {"unmingle.task": name}, kind="consumer", parent=self.traceparent) as current:
            result = self.task.run(separator, control)
            if manifest := getattr(result, "manifest", None):
                stages = {f"unmingle.stage.{name}_s": seconds for name, seconds in manifest.stage_seconds.items()}
                current.note({"unmingle.audio_s": manifest.seconds, "unmingle.sources": manifest.num_sources, **stages})
            return result


def traced(task: Task[T]) -> Task[T]:
    """The task as it is, or within the current trace."""
    url, traceparent = tracing.url(), tracing.traceparent()
    return TracedTask(task, traceparent, url) if url and traceparent else task
