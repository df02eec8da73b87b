"""Segments of several callers run together; each gets its own embeddings, and its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.service.scheduling.micro_batch import MicroBatcher

CONFIG = ModelConfig(layers=1, hidden=16, embedding_dim=4)


class GatedEmbedder:
    """Notes what it is given and on which thread; a call runs when it is let through."""

    segments_at_once = 1

    def __init__(self, open_gate: bool = False) -> None:
        self.config = CONFIG
        self.calls: list[list[float]] = []
        self.threads: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(10**6 if open_gate else 0)

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings that tell whose features they come from."""
        self.calls.append(features[:, 0, 0].tolist())
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        if (features[:, 0] < 0).any():
            raise ValueError("negative, on purpose")
        return np.repeat(features[..., None], CONFIG.embedding_dim, axis=-1)


def marked(*values: float, frames: int = 50) -> NDArray[np.float32]:
    """Segments of one value each."""
    return np.stack([np.full((frames, CONFIG.bands), value, np.float32) for value in values])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


Send = Callable[..., Future[NDArray[np.float32]]]


@pytest.fixture
def busy(pool: ThreadPoolExecutor) -> tuple[GatedEmbedder, MicroBatcher, Send]:
    """A batcher whose network runs a first segment, of value 100, and the means to line up behind it."""
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, most_frames=150)

    def send(*values: float, frames: int = 50) -> Future[NDArray[np.float32]]:
        before = len(batcher._waiting)
        sent = pool.submit(batcher.embed, marked(*values, frames=frames))
        give_up = time.monotonic() + 60
        while len(batcher._waiting) < before + len(values):
            assert time.monotonic() < give_up
            time.sleep(0.001)
        return sent

    pool.submit(batcher.embed, marked(100.0))
    assert embedder.entered.acquire(timeout=60)
    return embedder, batcher, send


def test_a_lone_caller_runs_its_own_segments_at_once() -> None:
    embedder = GatedEmbedder(open_gate=True)
    found = MicroBatcher(embedder).embed(marked(1.0, 2.0))
    assert embedder.calls == [[1.0, 2.0]]
    assert embedder.threads == [threading.get_ident()]
    assert found[:, 0, 0, 0].tolist() == [1.0, 2.0]


def test_what_waits_together_runs_together_and_everybody_gets_their_own(busy: tuple) -> None:
    embedder, batcher, send = busy
    sent = [send(float(value)) for value in (1, 2, 3)]
    embedder.gate.release(10)
    assert [future.result(10)[0, 0, 0, 0] for future in sent] == [1.0, 2.0, 3.0]
    assert [len(call) for call in embedder.calls] == [1, 3]
    assert batcher.batch_sizes == {1: 1, 3: 1}


def test_a_batch_is_bounded_and_of_one_length(busy: tuple) -> None:
    embedder, _, send = busy
    sent = [send(float(value)) for value in range(4)] + [send(9.0, frames=100)]
    embedder.gate.release(10)
    assert [future.result(10).shape[1] for future in sent] == [50, 50, 50, 50, 100]
    assert sorted(map(len, embedder.calls)) == [1, 1, 1, 3]


def test_an_odd_frame_is_no_reason_to_run_alone(busy: tuple) -> None:
    embedder, _, send = busy
    sent = [send(1.0, frames=49), send(2.0, frames=50)]
    embedder.gate.release(10)
    assert [future.result(10).shape[1] for future in sent] == [49, 50]
    assert embedder.calls[1] == [1.0, 2.0]


def test_a_short_recording_does_not_wait_for_a_long_one(busy: tuple) -> None:
    embedder, _, send = busy
    long = send(*map(float, range(10, 22)))
    short = send(1.0)
    embedder.gate.release(2)
    assert short.result(10)[0, 0, 0, 0] == 1.0
    assert not long.done()
    assert 1.0 in embedder.calls[1]
    embedder.gate.release(10)
    assert long.result(10)[:, 0, 0, 0].tolist() == list(range(10, 22))


def test_a_failure_reaches_those_it_concerns_and_nobody_else(busy: tuple) -> None:
    embedder, batcher, send = busy
    concerned = [send(-1.0), send(2.0)]
    other = send(3.0, frames=100)
    embedder.gate.release(10)
    for future in concerned:
        with pytest.raises(ValueError, match="on purpose"):
            future.result(10)
    assert other.result(10)[0, 0, 0, 0] == 3.0
    assert batcher.embed(marked(4.0))[0, 0, 0, 0] == 4.0


def test_with_cores_for_two_calls_a_newcomer_runs_at_once_and_a_third_waits(pool: ThreadPoolExecutor) -> None:
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, at_once=2)
    long = pool.submit(batcher.embed, marked(1.0, 2.0, 3.0))
    assert embedder.entered.acquire(timeout=60)
    short = pool.submit(batcher.embed, marked(4.0, 5.0))
    assert embedder.entered.acquire(timeout=60)
    third = pool.submit(batcher.embed, marked(6.0))
    give_up = time.monotonic() + 60
    while len(batcher._waiting) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.001)
    assert embedder.calls == [[1.0, 2.0, 3.0], [4.0]]  # it leaves its second segment to whoever is free
    embedder.gate.release(10)
    assert [f.result(10)[:, 0, 0, 0].tolist() for f in (long, short, third)] == [[1.0, 2.0, 3.0], [4.0, 5.0], [6.0]]
    assert sum(map(len, embedder.calls)) == 6


def test_nothing_in_nothing_out(bundled_model: Path) -> None:
    embedder = OnnxEmbedder(bundled_model, "cpu")
    batcher = MicroBatcher(embedder)
    for shape in ((0, 10), (1, 0)):
        assert batcher.embed(np.zeros((*shape, embedder.config.bands), np.float32)).shape[:2] == shape


def test_in_8_bits_the_same_bytes_alone_and_among_others(bundled_model: Path, pool: ThreadPoolExecutor) -> None:
    embedder = OnnxEmbedder(bundled_model, "cpu")
    assert embedder.precision == "int8"
    batcher = MicroBatcher(embedder)
    rng = np.random.default_rng(0)
    heard = [
        rng.normal(-2.0, scale, (1, frames, embedder.config.bands)).astype(np.float32)
        for scale in (0.1, 1.0, 5.0)
        for frames in (100, 200, 187)
        for _ in range(4)
    ]
    alone = [embedder.embed(features).tobytes() for features in heard]
    for _ in range(3):
        assert [found.tobytes() for found in pool.map(batcher.embed, heard)] == alone
    assert max(batcher.batch_sizes) > 1
