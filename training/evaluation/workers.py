"""Mixtures spread over processes, one core each."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.refining.refiner import open_refiner
from unmingle.model.separator import Separator
from unmingle.training.evaluation.errors import EvaluationError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")

_separator: Separator | None = None
"""Each worker process's own, set once."""


def spread(
    work: Callable[[Separator, Item], Result],
    items: Sequence[Item],
    model: Path,
    jobs: int,
    refiner: Path | None = None,
) -> Iterator[Result]:
    """Do the same with each of many mixtures in `jobs` processes; what comes of it is in their order.

    Every process computes on one thread, so that the figures do not depend on the number of processes or of cores.

    Raises:
        EvaluationError: a process died.
        UnmingleError: whatever the work raises.
    """
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            min(jobs, len(items)),
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(model, refiner),
        )
        try:
            yield from pool.map(functools.partial(_done, work), items)
        except BrokenProcessPool as error:
            raise EvaluationError(
                "A process of the evaluation ended unexpectedly; most likely memory ran out: give fewer --jobs."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Linear algebra in processes started meanwhile uses one thread; it reads this only when it is loaded."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def load(model: Path, refiner: Path | None, threads: int) -> Separator:
    """A model on the CPU, with a refiner where one is given.

    Raises:
        ModelError: a file is not usable, or the refiner is another model's.
    """
    embedder = OnnxEmbedder(model, device="cpu", threads=threads)
    if refiner is None:
        return Separator(embedder)
    return Separator(embedder, refiner=open_refiner(refiner, embedder.model_hash, "cpu", threads))


def _begin(model: Path, refiner: Path | None) -> None:
    global _separator  # noqa: PLW0603  # a process pool offers no other place for what its processes keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _separator = load(model, refiner, threads=1)


def _done(work: Callable[[Separator, Item], Result], item: Item) -> Result:
    if _separator is None:
        raise RuntimeError("_done() outside a process that _begin() prepared")
    return work(_separator, item)
