"""One recording by many workers: which tasks there are, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from unmingle.model.options import SeparationOptions
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output.part_files import lay_out
from unmingle.service.output.stems import StemSet, name
from unmingle.service.scheduling.engine import Engine
from unmingle.service.scheduling.work import Control, Task, Work
from unmingle.service.workers.parts import Cut, Inspect, JoinParts, ListenToPart, PlanStems, SeparatePart
from unmingle.service.workers.tasks import Separate, make_anew

if TYPE_CHECKING:
    from unmingle.model.parts import Part

T = TypeVar("T")

PARTS = "parts"
"""The directory for what the tasks leave to each other."""
LEAST_PART_S, MOST_PART_S = 120.0, 600.0
"""Parts are longer than the former: each costs the embedding of one more segment, 9 s of audio, and one worker embeds a
recording of less than 160 s only once. They are shorter than the latter, which is what is done again when a worker is
lost."""
_BEFORE, _BETWEEN = 0.02, 0.02
"""Of the progress, what comes before the two passes, and between them."""
_PART_BYTES = 32 * 2**20
"""What a part may leave: two samples of embeddings, 65,536 of each at the most, and excerpts."""


def parts_of(seconds: float, workers: int) -> int:
    """How many parts are best: as many for each worker, where that is possible; 1 is the whole."""
    if workers < 2:
        return 1
    rounds = math.ceil(seconds / (workers * MOST_PART_S))
    return max(1, min(rounds * workers, int(seconds / LEAST_PART_S)))


def may_be_spread(recording: DecodedRecording, options: SeparationOptions) -> bool:
    """Whether it may be possible at all, as far as that is known without listening."""
    return recording.channels == 1 or options.channels != "separate"


def bytes_between(recording: DecodedRecording, rate: int, parts: int) -> int:
    """Disk space for what the tasks leave to each other; `rate` is the model's."""
    return 4 * recording.channels * (recording.samples * rate // recording.sample_rate + rate) + parts * _PART_BYTES


class PartRunner:
    """Has one recording separated, part by part."""

    def __init__(self, engine: Engine, separate: Separate, control: Control) -> None:
        """Args:
        engine: has the workers.
        separate: what is wanted.
        control: tells the progress of all.
        """
        self._engine, self._wanted, self._control = engine, separate, control

    async def run(self, most: int) -> StemSet | None:
        """The stems; None where the recording has to stay whole.

        Args:
            most: parts that it is cut into.

        Raises:
            Problem, WorkFailedError: as of `Engine.run`; the other parts are stopped.
        """
        wanted = self._wanted
        place = wanted.target.with_name(PARTS)
        spread = await self._do(Cut(wanted.recording, place, most, wanted.parameters, wanted.overview), _BEFORE)
        if spread is None:
            return None
        around = {part: spread.around(part) for part in spread.parts}
        async with _together() as group:
            inspecting = group.create_task(self._do(Inspect(wanted.recording), 0.0))
            listening = [group.create_task(self._part(ListenToPart(around[part], part), part)) for part in spread.parts]
        planned = await self._do(PlanStems(spread), _BETWEEN)
        await asyncio.to_thread(self._lay_out, planned.sources)
        async with _together() as group:
            for part in spread.parts:
                group.create_task(self._part(SeparatePart(around[part], part, planned, wanted.target), part))
        seconds = dict(spread.stage_seconds)
        for done in listening:
            for stage, more in done.result().items():
                seconds[stage] = seconds.get(stage, 0.0) + more
        joining = JoinParts(spread, planned.plan, wanted.target, wanted.model, inspecting.result(), seconds)
        joined = await self._do(joining, 0.0)
        await asyncio.to_thread(name, joined.stems, joined.order)
        return joined.stems

    def _lay_out(self, sources: int) -> None:
        recording, target = self._wanted.recording, self._wanted.target
        make_anew(target)
        channels = self._wanted.parameters.options.channels_of_stems(recording.channels)
        lay_out(target, sources, channels, recording.samples, recording.sample_rate)

    async def _do(self, task: Task[T], share: float) -> T:
        """A step that is taken once for all parts."""
        # Its time is not measured by its audio, which it runs through in no time.
        return await self._engine.run(Work(task, 0.0, "jobs", self._telling(share)))

    async def _part(self, task: Task[T], part: Part) -> T:
        """One of the two passes over a part."""
        recording = self._wanted.recording
        length = part.end - part.start
        share = (1.0 - _BEFORE - _BETWEEN) / 2 * length / recording.samples
        seconds = length / recording.sample_rate / 2
        result = await self._engine.run(Work(task, seconds, "parts", control := self._telling(share)))
        control.done = 1.0
        return result

    def _telling(self, share: float) -> Control:
        """A control of a step that is such a share of all; the whole progress grows with its own."""
        told = 0.0

        def tell(done: float) -> None:
            nonlocal told
            # A step that is begun again has come further before.
            if done > told:
                self._control.done = min(1.0, self._control.done + share * (done - told))
                told = done

        return Control(tell)


@contextlib.asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks side by side; the first failure stops the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
