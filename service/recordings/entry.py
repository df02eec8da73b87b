"""One recording that is kept, and the separations of it that were asked for lately."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unmingle.model.choices import Number, Vectors
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output.stems import StemSet
from unmingle.service.problems import Problem
from unmingle.service.recordings.tasks import Kept
from unmingle.service.scheduling.capacity import Lease

HEARD, DECODED = "heard", "decoded"
KEPT_SEPARATIONS = 4
"""Of one recording; older ones go."""


@dataclasses.dataclass
class Made:
    """A separation of a kept recording.

    Attributes:
        id: in addresses.
        stems: on disk.
        centroids: (centroids, dim) that they were made with.
        sources: of each stem, the sound's number before they were put in order of loudness.
        users: how many read it at the moment.
    """

    id: str
    stems: StemSet
    centroids: Vectors
    sources: tuple[int, ...]
    users: int = 0


@dataclasses.dataclass
class Entry:
    """A recording that is kept. Belongs to one event loop.

    Attributes:
        id: in addresses; who knows it, and has the same key, may use it.
        directory: holds everything of it.
        recording: its samples, decoded.
        seed: of all clustering.
        lease: its place and its disk space.
        likeliest: number of sources.
        numbers: what 1, 2, 3... sources look like.
        made: separations, the last used last.
        users: requests that use it at the moment.
        used: time.monotonic() of the last one's end.
        lock: held while it is listened to again.
    """

    directory: Path
    recording: DecodedRecording
    seed: int
    lease: Lease
    likeliest: int = 0
    numbers: list[Number] = dataclasses.field(default_factory=list)
    made: dict[str, Made] = dataclasses.field(default_factory=dict)
    users: int = 0
    used: float = dataclasses.field(default_factory=time.monotonic)
    id: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(16))
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    @property
    def seconds(self) -> float:
        """Of the recording."""
        return self.recording.samples / self.recording.sample_rate

    @property
    def audio_bytes(self) -> int:
        """Of its samples."""
        return 4 * self.recording.samples * self.recording.channels

    @property
    def is_heard(self) -> bool:
        """Whether its embeddings are there."""
        return (self.directory / HEARD).exists()

    @property
    def kept(self) -> Kept:
        """As workers are told of it."""
        return Kept(self.recording, self.directory / HEARD)

    @contextmanager
    def in_use(self) -> Iterator[Entry]:
        """It neither expires nor is cleaned meanwhile."""
        self.users += 1
        try:
            yield self
        finally:
            self.users -= 1
            self.used = time.monotonic()

    @contextmanager
    def separation(self, separation_id: str) -> Iterator[Made]:
        """One of its separations, which stays meanwhile.

        Raises:
            Problem: there is none of this id.
        """
        made = self.made.get(separation_id)
        if made is None:
            raise Problem("separation_unknown", "There is no such separation any more; ask for it again.")
        self.made[separation_id] = self.made.pop(separation_id)  # what is listened to stays longest
        made.users += 1
        try:
            yield made
        finally:
            made.users -= 1

    def outdated(self) -> list[Made]:
        """Separations that make room for new ones: all but the last used, and nobody reads them."""
        extra = len(self.made) - KEPT_SEPARATIONS
        return [made for made in self.made.values() if not made.users][: max(0, extra)]
