"""Each channel of a recording separated on its own, all in step, so that memory does not grow with length.

Axes: (source, channel, sample). A stem has the recording's channels, and is silent in all but its own; so stems still
add up to the recording.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable

import numpy as np

from unmingle.model.recording import OneChannel, Recording, Samples
from unmingle.model.results import Outcome

Sink = Callable[[Samples], None]
Progress = Callable[[float], None]
Separate = Callable[[Recording, Sink, Progress], Outcome]

_WAIT_S = 0.1
_BLOCKS_AHEAD = 2


class _StoppedError(Exception):
    """Nobody wants more of this channel."""


class _Work:
    """The separation of one channel on a thread; its stems wait in a short queue."""

    def __init__(self, separate: Separate, channel: OneChannel, progress: Progress, stopped: threading.Event) -> None:
        self._separate, self._channel, self._progress, self._stopped = separate, channel, progress, stopped
        self._blocks: queue.Queue[Samples | None] = queue.Queue(_BLOCKS_AHEAD)
        self._failure: BaseException | None = None
        self._waiting: list[Samples] = []
        self.outcome: Outcome | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.outcome = self._separate(self._channel, self._put, self._tell)
        except BaseException as error:  # handed on to the caller's thread
            self._failure = error
        try:
            self._put(None)
        except _StoppedError:
            return

    def _tell(self, done: float) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._progress(done)

    def _put(self, block: Samples | None) -> None:
        while True:
            if self._stopped.is_set():
                raise _StoppedError
            try:
                self._blocks.put(block, timeout=_WAIT_S)
                return
            except queue.Full:
                continue

    def available(self) -> int:
        """Samples that can be taken; 0 at the end."""
        if not self._waiting:
            block = self._blocks.get()
            if block is None:
                if self._failure is not None:
                    raise self._failure
                return 0
            self._waiting.append(block)
        return int(self._waiting[0].shape[-1])

    def take(self, samples: int) -> Samples:
        """(sources, 1, samples)."""
        block = self._waiting.pop()
        if samples < block.shape[-1]:
            self._waiting.append(block[..., samples:])
        return block[..., :samples]


def separate_channels(
    recording: Recording, separate: Separate, sink: Sink, progress: Progress, has_background: bool
) -> Outcome:
    """Separate every channel by `separate`; stems are numbered by channel, and within one loudest first."""
    channels = recording.channels
    done = [0.0] * channels
    lock, stopped = threading.Lock(), threading.Event()

    def teller(number: int) -> Progress:
        def tell(part: float) -> None:
            with lock:
                done[number] = part
                progress(sum(done) / channels)

        return tell

    works = [_Work(separate, OneChannel(recording, n), teller(n), stopped) for n in range(channels)]
    try:
        for work in works:
            work.thread.start()
        while length := min(work.available() for work in works):
            sink(_beside([work.take(length) for work in works], has_background))
    finally:
        stopped.set()
        for work in works:
            work.thread.join()
    return _joined([work.outcome for work in works if work.outcome is not None])


def _beside(pieces: list[Samples], apart: bool) -> Samples:
    """Pieces of each channel's stems as stems with all channels; backgrounds become one, which comes last."""
    channels, length = len(pieces), pieces[0].shape[-1]
    sources = [len(piece) - apart for piece in pieces]
    block = np.zeros((sum(sources) + apart, channels, length), np.float32)
    first = 0
    for channel, (piece, count) in enumerate(zip(pieces, sources, strict=True)):
        block[first : first + count, channel] = piece[:count, 0]
        if apart:
            block[-1, channel] = piece[-1, 0]
        first += count
    return block


def _joined(outcomes: list[Outcome]) -> Outcome:
    order, reports, first = [], [], 0
    for channel, outcome in enumerate(outcomes, 1):
        order += [first + source for source in outcome.order]
        first += len(outcome.order)
        reports += [dataclasses.replace(report, channel=channel) for report in outcome.stems]
    chances = [outcome.count_chance for outcome in outcomes if outcome.count_chance is not None]
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        for stage, value in outcome.stage_seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    return dataclasses.replace(
        outcomes[0],
        order=tuple(order),
        stems=tuple(reports),
        count_chance=min(chances) if chances else None,
        stage_seconds=seconds,
    )
