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
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unmingle.model.kept import KeptRecording, Vectors, Wish
from unmingle.model.options import MAX_SOURCES
from unmingle.model.passes import Sink
from unmingle.model.results import Outcome
from unmingle.model.separator import Separator
from unmingle.service.decoding.decoder import DecodeLimits
from unmingle.service.output import stems
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.recordings.entry import DECODED, HEARD, Entry, Made
from unmingle.service.scheduling.capacity import Ledger
from unmingle.service.scheduling.engine import Work
from unmingle.service.scheduling.limits import Resource
from unmingle.service.schemas import RecordingParameters, SeparateParameters

T = TypeVar("T")

_LOOK_S = 5.0
_LISTENING, _SEPARATING = 0.8, 0.2
"""What part of a separation in one go each of them costs, about."""
_READERS = 2
"""Pictures, points and peaks that are made at the same time, beside separations."""

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
            lease.take(Resource.KEPT_BYTES, entry.audio_bytes + entry.kept(self._separator).most_bytes)
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
                most = entry.lease.held.get(Resource.KEPT_BYTES, 0.0) + entry.kept(self._separator).most_bytes
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
            made = await self._run(
                entry, _SEPARATING, lambda tell: self._separated(entry, made_id, directory, wish, parameters, tell)
            )
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, True))
            raise
        finally:
            await self._weigh(entry)
        entry.made[made.id] = made
        for old in entry.outdated():
            del entry.made[old.id]
            await asyncio.to_thread(shutil.rmtree, old.stems.directory, True)
        await self._weigh(entry)
        return made

    async def read(self, work: Callable[[], T]) -> T:
        """What `work` finds in files, on another thread."""
        async with self._readers:
            return await asyncio.to_thread(work)

    @property
    def _separator(self) -> Separator:
        return self._pipeline.engine.separator

    def _separated(
        self,
        entry: Entry,
        made_id: str,
        directory: Path,
        wish: Wish,
        parameters: SeparateParameters,
        tell: Callable[[float], None],
    ) -> Made:
        """On a worker thread."""
        directory.mkdir()
        kept = entry.kept(self._separator)
        found: list[tuple[Vectors, tuple[int, ...]]] = []

        def separate(sink: Sink) -> Outcome:
            outcome, centroids = kept.separate(wish, parameters.options, sink, tell)
            found.append((centroids, outcome.order))
            return outcome

        separated = stems.write(separate, entry.recording, directory, self._pipeline.model, parameters)
        self._pipeline.on_separated(separated.manifest)
        return Made(made_id, separated, *found[0])

    async def _listen(self, entry: Entry) -> None:
        place = entry.directory / HEARD
        unfinished = place.with_name(f"{HEARD}-{secrets.token_hex(4)}")

        def listen(tell: Callable[[float], None]) -> None:
            unfinished.mkdir()
            KeptRecording(entry.recording, self._separator, unfinished).listen(entry.seed, tell)
            unfinished.rename(place)
            if not entry.numbers:
                entry.likeliest, entry.numbers = entry.kept(self._separator).numbers()

        try:
            await self._run(entry, _LISTENING, listen)
        finally:
            if unfinished.exists():
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, unfinished, True))
        await self._weigh(entry)

    async def _run(self, entry: Entry, cost: float, work: Callable[[Callable[[float], None]], T]) -> T:
        return await self._pipeline.engine.run(
            Work(lambda _separator, control: work(control), cost * entry.seconds, self._pipeline.lane)
        )

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


def _disk_use(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
