"""The workers of an engine: lost ones are replaced, and there are as many as there should be."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from unmingle.model.errors import UnmingleError
from unmingle.service.scheduling.scaling import Scaling
from unmingle.service.scheduling.work import Ticket
from unmingle.service.scheduling.worker import Reason, Worker, WorkerLostError

log = logging.getLogger(__name__)

_FAILED_AFTER = 3
"""Workers one after the other that did not get ready."""
_LONGEST_PAUSE_S = 30.0
_SCALE_EVERY_S = 1.0


@dataclasses.dataclass(eq=False)
class _Place:
    """A place for a worker, kept filled by a task."""

    worker: Worker | None = None
    keeper: asyncio.Task[None] | None = None


class Crew:
    """Belongs to one event loop; what it counts may be read anywhere.

    Attributes:
        ready: workers that can be given work, each with what it has in hand.
        lost: how many workers were lost, and why.
        was_ready: whether one ever was.
        failed: whether none gets ready.
        unready_since: time.monotonic() since when no worker has been ready; of no meaning while one is.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        hire: Callable[[], Worker],
        scaling: Scaling | None,
        on_ready: Callable[[float], None],
        on_failed: Callable[[], None],
    ) -> None:
        """Args:
        workers: those to begin with.
        hire: gives one in place of one that was lost.
        scaling: how many there should be; None for as many as to begin with.
        on_ready: called whenever a worker is ready, with its processing seconds per second of audio.
        on_failed: called when no worker gets ready.
        """
        self._hire, self._scaling, self._on_ready, self._on_failed = hire, scaling, on_ready, on_failed
        self._places = [_Place(worker) for worker in workers]
        self._leaving: set[asyncio.Task[None]] = set()
        self._scaler: asyncio.Task[None] | None = None
        self.ready: dict[Worker, list[Ticket]] = {}
        self.lost: collections.Counter[Reason] = collections.Counter()
        self.was_ready = self.failed = False
        self.unready_since = time.monotonic()
        self._past_processor_s = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """How many are ready, and how many there are to be."""
        return len(self.ready), len(self._places)

    @property
    def most(self) -> int:
        """How many there may be while there is much to do."""
        return self._scaling.rule.most if self._scaling else len(self._places)

    @property
    def resident_bytes(self) -> int:
        """What they hold of memory, of late."""
        return sum(worker.resident_bytes for worker in tuple(self.ready))

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that they have taken so far."""
        return self._past_processor_s + sum(worker.processor_s for worker in tuple(self.ready))

    def start(self, audio_s: Callable[[], float]) -> None:
        """Begin; `audio_s` tells the seconds of audio that wait or run."""
        for place in self._places:
            self._fill(place)
        if self._scaling:
            self._scaler = asyncio.create_task(self._scale(self._scaling, audio_s))

    async def stop(self) -> None:
        """End all workers."""
        ending = [place.keeper for place in self._places if place.keeper]
        if self._scaler:
            ending.append(self._scaler)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, *self._leaving, return_exceptions=True)

    async def _scale(self, scaling: Scaling, audio_s: Callable[[], float]) -> None:
        while True:
            wanted, present = scaling.wanted(audio_s(), time.monotonic()), len(self._places)
            if wanted > present:
                new = [_Place() for _ in range(wanted - present)]
                self._places += new
                for place in new:
                    self._fill(place)
            for place in self._spare(present - wanted):
                self._empty(place)
            if len(self._places) != present:
                log.info("there are to be %d workers instead of %d", len(self._places), present)
            await asyncio.sleep(_SCALE_EVERY_S)

    def _spare(self, most: int) -> list[_Place]:
        """Places whose workers have nothing in hand; those that are not ready first."""
        idle = [place for place in self._places if place.worker is None or not self.ready.get(place.worker)]
        return sorted(idle, key=lambda place: place.worker in self.ready)[: max(0, most)]

    def _fill(self, place: _Place) -> None:
        place.keeper = asyncio.create_task(self._keep(place))

    def _empty(self, place: _Place) -> None:
        self._places.remove(place)
        if place.worker:
            self._not_ready(place.worker)  # nobody gives it work any more
        if place.keeper:
            self._leaving.add(place.keeper)
            place.keeper.add_done_callback(self._leaving.discard)
            place.keeper.cancel()

    async def _keep(self, place: _Place) -> None:
        """Keep a place filled."""
        failures = 0
        try:
            while True:
                try:
                    worker = place.worker = place.worker or self._hire()
                    factor = await worker.ready()
                except (WorkerLostError, UnmingleError, OSError) as error:
                    log.error("A worker does not get ready: %s", error)
                    failures += 1
                    if place.worker:
                        await place.worker.end()
                    place.worker = None
                    if failures >= _FAILED_AFTER and not self.ready:
                        self.failed = True
                        self._on_failed()
                    await asyncio.sleep(min(_LONGEST_PAUSE_S, 2.0**failures))
                    continue
                failures = 0
                log.info("ready", extra={"real_time_factor": round(factor, 4)})
                self.ready[worker], self.failed = [], False
                self._on_ready(factor)
                self.was_ready = True
                self._is_lost(worker, await worker.lost())
                place.worker = None
        finally:
            if place.worker:
                await place.worker.end()

    def _not_ready(self, worker: Worker) -> None:
        if self.ready.pop(worker, None) is not None:
            self._past_processor_s += worker.processor_s

    def _is_lost(self, worker: Worker, loss: WorkerLostError) -> None:
        self._not_ready(worker)
        self.unready_since = time.monotonic()
        self.lost[loss.reason] += 1
        log.error("a worker is lost and will be replaced: %s", loss, extra={"reason": loss.reason})
