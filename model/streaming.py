"""The stems of a long recording, block by block, as an iterator. Axes: (source, channel, sample)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from unmingle.model.recording import Samples
from unmingle.model.results import Outcome

_WAIT_S = 0.1
_BLOCKS_AHEAD = 2


class _StoppedError(Exception):
    """Nobody wants more blocks."""


class StemBlocks(Iterator[Samples]):
    """Blocks of all stems, one after the other; the separation goes on, on a thread, while they are used.

    The order of the stems is only known at the end: `outcome.order` says where the loudest stem is, and so on. The
    background, where it is a stem, is the last. Close it (or use `with`) where not all blocks are wanted.
    """

    def __init__(self, separate: Callable[[Callable[[Samples], None]], Outcome]) -> None:
        """Args: separate: sends blocks to what it is called with."""
        self._separate = separate
        self._blocks: queue.Queue[Samples | None] = queue.Queue(_BLOCKS_AHEAD)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._outcome: Outcome | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def outcome(self) -> Outcome:
        """What is known of the stems, once the last block was given.

        Raises:
            RuntimeError: there are more blocks.
        """
        if self._outcome is None or not self._ended:
            raise RuntimeError("the outcome is known when the last block was given.")
        return self._outcome

    def __iter__(self) -> StemBlocks:
        return self

    def __next__(self) -> Samples:
        if self._ended:
            raise StopIteration
        block = self._blocks.get()
        if block is not None:
            return block
        self._ended = True
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def close(self) -> None:
        """End the separation."""
        self._stopped.set()
        self._ended = True
        self._thread.join()

    def __enter__(self) -> StemBlocks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._outcome = self._separate(self._put)
        except BaseException as error:  # handed on to the caller's thread
            self._failure = error
        try:
            self._put(None)
        except _StoppedError:
            return

    def _put(self, block: Samples | None) -> None:
        while not self._stopped.is_set():
            try:
                self._blocks.put(block, timeout=_WAIT_S)
                return
            except queue.Full:
                continue
        raise _StoppedError
