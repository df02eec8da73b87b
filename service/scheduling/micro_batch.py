"""Runs segments of several recordings in one call of the network, with fair turns.

It has no thread of its own: one of the waiting callers runs a batch for all of them, then the next one does. A lone
caller waits for nothing and switches no thread. While as many batches run as the network can run at once, the next one
fills up, so no caller has to wait for others on purpose. Axes: (segment, frame, band, dim).
"""

from __future__ import annotations

import collections
import dataclasses
import threading

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.embedding.embedder import Embedder, embed_each, pad_frames

Array = NDArray[np.float32]

MOST_FRAMES = 2500
"""Frames in one call, 20 s: the longest wait of a new caller, and enough to keep all cores busy."""


@dataclasses.dataclass(eq=False)
class _Segment:
    """One segment in the queue.

    Attributes:
        turn: virtual time at which it may begin, see MicroBatcher.
        thread: whose it is.
        embedded: its embeddings, once its batch has run.
        alone: whether nobody else had segments in the batch.
        error: what went wrong instead.
    """

    features: Array
    turn: int
    thread: int
    embedded: Embedded | None = None
    alone: bool = False
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.embedded is not None or self.error is not None


class MicroBatcher:
    """An Embedder that runs segments of equal length together, whichever threads they come from.

    Turns are those of start-time fair queueing (Goyal, Vin & Cheng, 1996), in frames: a thread's segment may begin when
    its previous one has had its frames, so that threads share the network evenly, and a short recording that comes
    while an hour of audio is embedded waits for the batch that runs and for no other. Needs an embedder whose
    embeddings do not depend on what runs beside them.
    """

    def __init__(self, embedder: Embedder, most_frames: int = MOST_FRAMES, at_once: int = 1) -> None:
        """Batch for an embedder.

        Args:
            embedder: runs the batches.
            most_frames: in a batch, unless fewer than `at_once` segments.
            at_once: calls of the embedder that gain by running at the same time.
        """
        self.embedder = embedder
        self._most_frames = most_frames
        self._at_once = at_once
        self._changed = threading.Condition()
        self._waiting: list[_Segment] = []
        self._now = 0
        self._had: dict[int, int] = {}
        self._running = 0
        self.batch_sizes: collections.Counter[int] = collections.Counter()
        """How many calls had how many segments."""

    @property
    def config(self) -> ModelConfig:
        """The embedder's."""
        return self.embedder.config

    @property
    def segments_at_once(self) -> int:
        """The embedder's."""
        return self.embedder.segments_at_once

    def embed(self, features: Array) -> Array:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim)."""
        if 0 in features.shape:
            return self.embedder.embed(features)
        return np.stack([embedded.array() for embedded in self.embed_each(features)])

    def embed_each(self, features: Array) -> list[Embedded]:
        """(segments, frames, bands) -> the embeddings of each segment, wherever the embedder leaves them."""
        segments, frames, _ = features.shape
        if segments == 0 or frames == 0:
            return embed_each(self.embedder, features)
        mine = self._queue(pad_frames(features, self.config))
        while not all(segment.done for segment in mine):
            if batch := self._batch_or_wait(mine):
                self._run(batch)
        for segment in mine:
            if segment.error is not None:
                raise segment.error
        # Copied, so that the embeddings of others in the batch can be freed.
        return [
            (segment.embedded if segment.alone else segment.embedded.apart()).first(frames)
            for segment in mine
            if segment.embedded is not None
        ]

    def _queue(self, padded: Array) -> list[_Segment]:
        """Queue the calling thread's segments, one after the other."""
        thread, frames = threading.get_ident(), padded.shape[1]
        with self._changed:
            if not self._waiting and not self._running:
                self._had.clear()  # nobody is waiting for a turn
            begin = max(self._now, self._had.get(thread, 0))
            mine = [_Segment(item, begin + index * frames, thread) for index, item in enumerate(padded)]
            self._had[thread] = begin + len(mine) * frames
            self._waiting += mine
        return mine

    def _batch_or_wait(self, mine: list[_Segment]) -> list[_Segment]:
        """The next batch, for the caller to run; or nothing, after waiting for somebody else's batch."""
        with self._changed:
            if all(segment.done for segment in mine):
                return []
            if self._running == self._at_once or not self._waiting:
                self._changed.wait()
                return []
            self._waiting.sort(key=lambda segment: segment.turn)  # stable: in order of arrival where turns are equal
            first = self._waiting[0]
            # While other calls run, a call has one core: other waiting segments are better off in the next free call.
            most = 1 if self._running else max(self._at_once, self._most_frames // len(first.features))
            batch = [s for s in self._waiting if s.features.shape == first.features.shape][:most]
            self._waiting = [s for s in self._waiting if s not in batch]
            self._now = max(self._now, first.turn)
            self._running += 1
            return batch

    def _run(self, batch: list[_Segment]) -> None:
        try:
            alone = len({segment.thread for segment in batch}) == 1
            found = embed_each(self.embedder, np.stack([segment.features for segment in batch]))
            for segment, embedded in zip(batch, found, strict=True):
                segment.alone, segment.embedded = alone, embedded
            self.batch_sizes[len(batch)] += 1
        except BaseException as error:
            for segment in batch:
                segment.error = error
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
