"""The process of a worker: it loads the model, does the tasks that the server sends, and ends with the server.

here.py starts it, with the number of a socket and of the server's process. It is started afresh, not forked: the server
has threads.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.embedding.onnx_session import GPU_FRAMES_AT_ONCE
from unmingle.model.embedding.runtime_check import CUDA
from unmingle.model.errors import UnmingleError
from unmingle.model.refining.refiner import OnnxRefiner, open_refiner
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model
from unmingle.service import logs, memory
from unmingle.service.problems import from_exception
from unmingle.service.scheduling.micro_batch import MOST_FRAMES, MicroBatcher
from unmingle.service.scheduling.priority import call_standing_back, stand_back
from unmingle.service.scheduling.work import Control, StoppedError, Task
from unmingle.service.workers.messages import (
    Beat,
    Begin,
    Ended,
    Failure,
    Line,
    Loaded,
    Message,
    ModelFacts,
    Progress,
    Ready,
    Stop,
    Terms,
    Unusable,
)

log = logging.getLogger(__name__)

_OOM_SCORE = 300
"""Where memory runs out, the kernel rather ends a worker than the server: only what it has in hand is lost."""
_PR_SET_PDEATHSIG = 1
_WARM_UP_S = 2.0
_TIDY_AFTER_S = 1.0
"""Without work, the process gives its free memory back."""
_TELL_EVERY_S = 0.1
"""Progress is told no more often."""


class WorkerProcess:
    """Does tasks on threads, with one model for all of them."""

    def __init__(self, line: Line, terms: Terms) -> None:
        self._line, self._terms = line, terms
        self._threads = ThreadPoolExecutor(terms.at_once, "separate", stand_back)
        self._controls: dict[int, Control] = {}
        self._busy_at = time.monotonic()
        self._tidied = False
        self._told: collections.Counter[int] = collections.Counter()
        self._counting = threading.Lock()

    def run(self) -> None:
        """Work until the server is done with it."""
        try:
            # The threads of its session are started here, and inherit the priority.
            embedder, refiner = call_standing_back(lambda: _load(self._terms))
        except UnmingleError as error:
            self._line.send(Unusable(error))
            return
        self._batcher = _batcher(embedder)
        self._separator = Separator(self._batcher, refiner=refiner)
        facts = ModelFacts(
            embedder.config, embedder.model_hash, embedder.provider, embedder.fallback, refines=refiner is not None
        )
        self._line.send(Loaded(facts))
        warming = self._threads.submit(self._warm_up)
        while (message := self._next()) is not None:
            match message:
                case Begin(number, task):
                    control = self._controls[number] = Control(_Telling(self._line, number))
                    self._threads.submit(self._do, number, task, control)
                case Stop(number):
                    if control_of := self._controls.get(number):
                        control_of.stop()
        if self._controls or not warming.done():
            # What computes in the network cannot be stopped, and the network's library must not be unloaded meanwhile.
            os._exit(0)

    def beat(self) -> None:
        """Give signs of life, on a thread of its own; and tidy up when there is nothing to do."""
        while True:
            try:
                self._line.send(Beat(memory.resident_bytes(), time.process_time()))
            except OSError:  # the server has gone
                return
            time.sleep(self._terms.beat_s)
            if self._controls:
                self._busy_at, self._tidied = time.monotonic(), False
            elif not self._tidied and time.monotonic() - self._busy_at > _TIDY_AFTER_S:
                memory.give_back()
                self._tidied = True

    def _next(self) -> Message | None:
        try:
            return self._line.receive()
        except (EOFError, OSError):
            return None

    def _warm_up(self) -> None:
        rate = self._batcher.config.sample_rate
        noise = np.random.default_rng(0).standard_normal(int(_WARM_UP_S * rate)).astype(np.float32) * np.float32(0.1)
        try:
            self._separator.separate(noise, rate, 2)
            start = time.perf_counter()
            self._separator.separate(noise, rate, 2)
            answer: Message = Ready((time.perf_counter() - start) / _WARM_UP_S)
        except Exception as error:
            log.exception("The model does not run")
            answer = Unusable(UnmingleError(f"The model does not run: {error}"))
        with contextlib.suppress(OSError):
            self._line.send(answer)

    def _do(self, number: int, task: bytes, control: Control) -> None:
        result, failure = None, None
        try:
            result = self._result(task, control)
        except StoppedError:
            pass
        except BaseException as error:  # SystemExit, too, ends nothing but this task
            failure = _failure(error)
        self._controls.pop(number, None)
        with contextlib.suppress(OSError):  # the server has gone
            self._line.send(Ended(number, result, failure, self._new_batches()))

    def _result(self, pickled: bytes, control: Control) -> bytes:
        """Apart from `_do`, so that a failure keeps nothing of the task."""
        task: Task[Any] = pickle.loads(pickled)
        return pickle.dumps(task.run(self._separator, control), pickle.HIGHEST_PROTOCOL)

    def _new_batches(self) -> Mapping[int, int]:
        with self._counting:
            now = self._batcher.batch_sizes.copy()
            new = {size: count - self._told[size] for size, count in now.items() if count > self._told[size]}
            self._told = now
            return new


class _Telling:
    """Sends the progress of a task, though not all of it."""

    def __init__(self, line: Line, number: int) -> None:
        self._line, self._number, self._told_at = line, number, 0.0

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            with contextlib.suppress(OSError):  # the server has gone
                self._line.send(Progress(self._number, done))


def _load(terms: Terms) -> tuple[OnnxEmbedder, OnnxRefiner | None]:
    model = terms.model or bundled_model(terms.device)
    how = terms.device, terms.threads, terms.gpu_memory_bytes
    embedder = OnnxEmbedder(model, *how)
    return embedder, open_refiner(terms.refiner, embedder.model_hash, *how) if terms.refiner else None


def _batcher(embedder: OnnxEmbedder) -> MicroBatcher:
    """For the device that the embedder runs on."""
    most_frames = GPU_FRAMES_AT_ONCE if embedder.provider == CUDA else MOST_FRAMES
    return MicroBatcher(embedder, most_frames, embedder.calls_at_once)


def _failure(error: BaseException) -> Failure:
    problem = from_exception(error)
    text = "".join(traceback.format_exception(error)) if problem.code == "internal" else None
    return Failure(problem.code, problem.detail, problem.extra, problem.headers, text)


def _depend_on(server: int) -> None:
    """Be the first to go when memory runs out, and end when the server ends."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(1000, int(score.read_text()) + _OOM_SCORE)))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it has ended already
        os._exit(1)


def main() -> None:
    """Be a worker."""
    for by_terminal_or_supervisor in (signal.SIGINT, signal.SIGTERM):
        signal.signal(by_terminal_or_supervisor, signal.SIG_IGN)  # the server ends this process after its last work
    _depend_on(int(sys.argv[2]))
    memory.bound_arenas()  # before there are threads
    sys.setswitchinterval(0.001)  # so that computing threads hand over the GIL to the one that takes tasks soon
    with socket.socket(fileno=int(sys.argv[1])) as server:
        line = Line(server)
        terms = line.receive()
        if not isinstance(terms, Terms):
            raise TypeError(f"expected the terms, not {terms!r}")
        logs.configure(terms.log_format, terms.log_level)
        worker = WorkerProcess(line, terms)
        threading.Thread(target=worker.beat, name="beat", daemon=True).start()
        worker.run()


if __name__ == "__main__":
    main()
