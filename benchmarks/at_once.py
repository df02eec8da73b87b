"""Several recordings at once on one GPU: threads with one batcher, as a server has them, and several such processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.measuring import ROOT
from unmingle.model.embedding.device import Device
from unmingle.model.embedding.embedder import Embedder, OnnxEmbedder
from unmingle.model.embedding.onnx_session import GPU_FRAMES_AT_ONCE
from unmingle.model.separator import Separator
from unmingle.service.scheduling.micro_batch import MicroBatcher


def voices(seconds: float, rate: int) -> NDArray[np.float32]:
    """Two speakers over and over."""
    signal, own = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")
    assert own == rate
    return np.resize(signal, round(seconds * rate))


def batcher(embedder: Embedder) -> MicroBatcher:
    """As a server has it for a GPU (unmingle.service.app)."""
    return MicroBatcher(embedder, GPU_FRAMES_AT_ONCE)


def by_threads(shared: MicroBatcher, threads: int, seconds: float, recordings: int) -> dict[str, object]:
    """Audio seconds per second of `threads` threads, each of which separates `recordings`, one after the other."""
    shared.batch_sizes.clear()
    start = time.perf_counter()
    _separate(shared, threads, seconds, recordings)
    wall = time.perf_counter() - start
    segments = sum(size * calls for size, calls in shared.batch_sizes.items())
    return {
        "recordings at once": threads,
        "audio s per s": threads * recordings * seconds / wall,
        "s per recording": wall / recordings,
        "segments per call": segments / max(1, shared.batch_sizes.total()),
    }


def by_processes(path: Path, device: Device, processes: int, threads: int, seconds: float) -> dict[str, object]:
    """The same of several processes, with a session and a batcher each, from the first begin to the last end.

    Raises:
        threading.BrokenBarrierError: one of them did not get ready.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _share, (ready,)) as pool:
        runs = [pool.submit(_process, path, device, threads, seconds) for _ in range(processes)]
        try:
            spans = [run.result() for run in runs]
        except BaseException:
            ready.abort()  # the others would wait for who will not come
            raise
    wall = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return {
        "processes": processes,
        "recordings at once": processes * threads,
        "audio s per s": processes * threads * seconds / wall,
    }


def _share(ready: Barrier) -> None:
    global _ready  # noqa: PLW0603 - a barrier reaches processes of a pool in no other way
    _ready = ready


def _process(path: Path, device: Device, threads: int, seconds: float) -> Sequence[float]:
    """When it began and ended, by the clock on the wall."""
    embedder = batcher(OnnxEmbedder(path, device))
    _separate(embedder, threads, seconds, 1)
    _ready.wait(60.0)
    begin = time.time()
    _separate(embedder, threads, seconds, 1)
    return begin, time.time()


def _separate(embedder: Embedder, threads: int, seconds: float, recordings: int) -> None:
    mixture, separator = voices(seconds, embedder.config.sample_rate), Separator(embedder)

    def work(_: int) -> None:
        for _ in range(recordings):
            separator.separate(mixture, embedder.config.sample_rate)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
