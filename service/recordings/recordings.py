"""Recordings that are uploaded and listened to once, and then separated as often as wanted, until their lease expires.

Nothing of them is in memory but what is being worked on: samples, embeddings and stems are files. Embeddings of a
recording that nobody has used for a while go first; they are made again when they are wanted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from unmingle.model.choices import Vectors, Wish
from unmingle.model.embedding.on_disk import most_kept_bytes
from unmingle.model.options import MAX_SOURCES
from unmingle.model.overview import Points
from unmingle.service.decoding.decoder import DecodeLimits
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.recordings.entry import DECODED, HEARD, Entry, Made
from unmingle.service.recordings.tasks import DrawMasks, Listen, SeparateKept, TakePoints
from unmingle.service.scheduling.capacity import Ledger
from unmingle.service.scheduling.engine import Task, Work
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import RecordingParameters, SeparateParameters

T = TypeVar("T")

_LOOK_S = 5.0
_LISTENING, _SEPARATING = 0.8, 0.2
"""What part of a separation in one go each of them costs, about."""
_READERS = 2
"""Outlines that are made at the same time."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class KeepLimits:
    """Attributes:
    keep_s: a recording is deleted when it was not used for so long.
    heard_s: its embeddings are.
    """

    keep_s: float
    heard_s: float


class Recordings:
    """All that are kept. Belongs to one event loop."""

    def __init__(self, directory: Path, pipeline: Pipeline, ledger: Ledger, limits: KeepLimits) -> None:
        self._directory, self._pipeline, self._ledger, self.limits = directory, pipeline, ledger, limits
        self._entries: dict[str, Entry] = {}
        self._readers = asyncio.Semaphore(_READERS)
        self._cleaning: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Forget those of an earlier server, and let those of this one expire."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._cleaning = asyncio.create_task(self._clean())

    async def stop(self) -> None:
        """Delete all."""
        if self._cleaning:
            self._cleaning.cancel()
        for entry in tuple(self._entries.values()):
            await self._delete(entry)
        await asyncio.to_thread(shutil.rmtree, self._directory, True)

    async def add(
        self,
        upload: Path,
        owner: str,
        parameters: RecordingParameters,
        limits: DecodeLimits,
        on_decoded: Callable[[Entry], None],
    ) -> Entry:
        """Decode an upload and listen to it. Cancelling this ends that.

        Raises:
            Problem: it is not usable, or there is no room for it.
        """
        directory = self._directory / secrets.token_hex(8)
        lease = self._ledger.kept_lease(owner)
        try:
            lease.take(Resource.KEPT)
            directory.mkdir()
            limits = dataclasses.replace(limits, track=parameters.track)
            decoder = self._pipeline.decoder
            recording = await decoder.decode(upload, directory / DECODED, limits, mono=parameters.mono)
            entry = Entry(directory, recording, parameters.seed, lease)
            lease.take(Resource.KEPT_BYTES, entry.audio_bytes + self._most_bytes(entry))
            on_decoded(entry)
            await self._listen(entry)
        except BaseException:
            lease.end()
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, True))
            raise
        self._entries[entry.id] = entry
        return entry

    def get(self, recording_id: str, owner: str) -> Entry:
        """A recording of this owner's.

        Raises:
            Problem: there is none.
        """
        entry = self._entries.get(recording_id)
        if entry is None or entry.lease.owner != owner:
            raise Problem(
                "recording_unknown", "There is no such recording; it was deleted, has expired, or never was. Upload it."
            )
        return entry

    async def delete(self, entry: Entry) -> None:
        """Free all that it holds."""
        await self._delete(entry)

    async def heard(self, entry: Entry) -> None:
        """See that its embeddings are there; those that expired are made again.

        Raises:
            Problem: there is no room.
        """
        async with entry.lock:
            if not entry.is_heard:
                most = entry.lease.held.get(Resource.KEPT_BYTES, 0.0) + self._most_bytes(entry)
                entry.lease.take(Resource.KEPT_BYTES, most)
                await self._listen(entry)

    async def separate(self, entry: Entry, wish: Wish, parameters: SeparateParameters) -> Made:
        """Only clustering, masks and synthesis.

        Raises:
            Problem: there is no room.
            ParameterError: it cannot be separated so.
        """
        most = 1 + (wish.num_sources or len(wish.centroids if wish.centroids is not None else range(MAX_SOURCES)))
        await self.heard(entry)
        entry.lease.take(Resource.KEPT_BYTES, entry.lease.held[Resource.KEPT_BYTES] + most * entry.audio_bytes)
        made_id = secrets.token_urlsafe(8)
        directory = entry.directory / made_id
        try:
            task = SeparateKept(entry.kept, directory, wish, self._pipeline.model, parameters)
            separated = await self._run(entry, _SEPARATING, task)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, True))
            raise
        finally:
            await self._weigh(entry)
        self._pipeline.on_separated(separated.stems.manifest)
        made = entry.made[made_id] = Made(made_id, separated.stems, separated.centroids, separated.sources)
        for old in entry.outdated():
            del entry.made[old.id]
            await asyncio.to_thread(shutil.rmtree, old.stems.directory, True)
        await self._weigh(entry)
        return made

    async def read(self, work: Callable[[], T]) -> T:
        """What `work` finds in files, on another thread."""
        async with self._readers:
            return await asyncio.to_thread(work)

    async def points(self, entry: Entry, most: int) -> Points:
        """A bounded sample of the bins that are heard in it; the same sample each time.

        Raises:
            Problem: there is no room.
        """
        await self.heard(entry)
        with self._drawn(entry) as target:
            await self._view(TakePoints(entry.kept, target, most, entry.seed))
            return await asyncio.to_thread(_points, target)

    async def masks(self, entry: Entry, centroids: Vectors, start_s: float, end_s: float, columns: int) -> bytes:
        """A PNG of who is heard where.

        Raises:
            Problem: there is no room.
        """
        await self.heard(entry)
        with self._drawn(entry) as target:
            await self._view(DrawMasks(entry.kept, target, centroids, start_s, min(end_s, entry.seconds), columns))
            return await asyncio.to_thread(target.read_bytes)

    def _most_bytes(self, entry: Entry) -> int:
        return most_kept_bytes(entry.seconds, self._pipeline.abilities.config)

    @contextmanager
    def _drawn(self, entry: Entry) -> Iterator[Path]:
        """A file that is there for a moment."""
        target = entry.directory / f"view-{secrets.token_hex(8)}"
        try:
            yield target
        finally:
            target.unlink(missing_ok=True)

    async def _listen(self, entry: Entry) -> None:
        place = entry.directory / HEARD
        unfinished = place.with_name(f"{HEARD}-{secrets.token_hex(4)}")

        try:
            heard = await self._run(entry, _LISTENING, Listen(entry.kept, unfinished, entry.seed))
        finally:
            if unfinished.exists():
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, unfinished, True))
        entry.recording.warnings = heard.warnings
        if not entry.numbers:
            entry.likeliest, entry.numbers = heard.likeliest, heard.numbers
        await self._weigh(entry)

    async def _run(self, entry: Entry, cost: float, task: Task[T]) -> T:
        return await self._pipeline.engine.run(Work(task, cost * entry.seconds, self._pipeline.lane))

    async def _view(self, task: Task[None]) -> None:
        await self._pipeline.engine.run(Work(task, 0.0, "views"))

    async def _weigh(self, entry: Entry) -> None:
        """What it holds of the disk from now on is what is there."""
        size = await asyncio.to_thread(_disk_use, entry.directory)
        if entry.lease.held:
            entry.lease.put(Resource.KEPT_BYTES, max(1, size))

    async def _delete(self, entry: Entry) -> None:
        self._entries.pop(entry.id, None)
        await asyncio.to_thread(shutil.rmtree, entry.directory, True)
        entry.lease.end()

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_S, self.limits.heard_s / 4, self.limits.keep_s / 4))
            now = time.monotonic()
            for entry in tuple(self._entries.values()):
                if entry.users:
                    continue
                try:
                    if now - entry.used > self.limits.keep_s:
                        await self._delete(entry)
                    elif now - entry.used > self.limits.heard_s and entry.is_heard:
                        async with entry.lock:
                            await asyncio.to_thread(shutil.rmtree, entry.directory / HEARD, True)
                        await self._weigh(entry)
                except OSError:
                    log.exception("A kept recording cannot be cleaned")


def _points(file: Path) -> Points:
    with np.load(file, allow_pickle=False) as arrays:
        return Points(arrays["places"], arrays["embeddings"], arrays["weights"])


def _disk_use(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
