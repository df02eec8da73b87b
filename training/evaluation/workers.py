"""Mixtures spread over processes, one core each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.separator import Separator
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import ListedMixture
from unmingle.training.evaluation.scoring import HowMany, ScoredMixture, score

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_separator: Separator | None = None
_how_many: HowMany = "true"
"""Each worker process's own, set once."""


def score_all(listed: Sequence[ListedMixture], model: Path, jobs: int, how_many: HowMany) -> Iterator[ScoredMixture]:
    """Score mixtures in `jobs` processes; they come in the order of the list.

    Every process computes on one thread, so that the figures do not depend on the number of processes or of cores.

    Raises:
        EvaluationError: a recording is not usable, or a process died.
        ParameterError: the model has to count and was not taught to.
    """
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            min(jobs, len(listed)),
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(model, how_many),
        )
        try:
            yield from pool.map(_score, listed)
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


def _begin(model: Path, how_many: HowMany) -> None:
    global _separator, _how_many  # noqa: PLW0603  # a process pool offers no other place for what its processes keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _separator = Separator(OnnxEmbedder(model, device="cpu", threads=1))
    _how_many = how_many


def _score(listed: ListedMixture) -> ScoredMixture:
    if _separator is None:
        raise RuntimeError("_score() outside a process that _begin() prepared")
    return score(_separator, listed, _how_many)
