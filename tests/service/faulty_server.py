"""`unmingle`, with faults to switch on while it runs: the file UNMINGLE_TEST_FAULTS is JSON that names them.

`{"fail": {"embed": "RuntimeError"}}` has a stage raise; `{"clock_s": 3600}` has the wall clock jump. A stage can also
have its process killed or stopped, get no memory, or use up all there is: `{"strike": {"embed": "SIGKILL"}}`. That
happens as often as there are files next to the faults, strike-0, strike-1..., and each strike takes one away.
`{"hold": true}` has new workers wait before they do anything.
"""

from __future__ import annotations

import builtins
import errno
import functools
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULTS = Path(os.environ.get("UNMINGLE_TEST_FAULTS") or os.environ["TEST_FAULTS"])
os.environ["TEST_FAULTS"] = str(FAULTS)
os.environ.pop("UNMINGLE_TEST_FAULTS", None)

STAGES = {
    "receive": "unmingle.service.http.uploads:_Form.flush",
    "decode": "unmingle.service.decoding.decoder:Decoder._run_child",
    "separate": "unmingle.model.separator:Separator.separate_recording",
    "embed": "unmingle.model.embedding.embedder:OnnxEmbedder.embed",
    "cluster": "unmingle.model.clustering.kmeans:EmbeddingSample.all",
    "synthesise": "unmingle.model.signal.stft:Synthesiser.push",
    "write": "unmingle.service.output.stems:_StemWriter.write",
    "pack": "unmingle.service.output.package:pack",
    "settle": "unmingle.service.jobs.directories:settle",
    "claim": "unmingle.service.jobs.store:JobStore.claim",
    "finish": "unmingle.service.jobs.store:JobStore.finish",
}

_real_time = time.time
_thread = threading.local()


def faults() -> dict[str, Any]:
    return json.loads(FAULTS.read_text())


def fail_if_told(stage: str) -> None:
    match faults().get("fail", {}).get(stage):
        case None:
            pass
        case "full disk":
            raise OSError(errno.ENOSPC, "on purpose")
        case name:
            raise getattr(builtins, name)("on purpose")


def strike_if_told(stage: str) -> None:
    how = faults().get("strike", {}).get(stage)
    if how is None or not getattr(_thread, "has_a_task", False):  # a worker that warms up has none
        return
    try:
        next(FAULTS.parent.glob("strike-*")).unlink()
    except (StopIteration, FileNotFoundError):  # none left, or another thread has taken it
        return
    match how:
        case "no memory":
            get_no_memory()
        case "out of memory":
            use_up_the_memory()
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)  # the signal may come a moment later


def use_up_the_memory() -> None:
    """Take memory until the kernel ends somebody for it."""
    held = []
    while True:
        held.append(b"x" * 2**20)


def get_no_memory() -> None:
    """Take memory until there is none to be had, and have a library that cannot go on without it end the process."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 64 * 2**20, most))
    held = []
    try:
        while True:
            held.append(bytes(2**20))
    except MemoryError:
        os.abort()


def made_to_fail(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        fail_if_told(stage)
        strike_if_told(stage)
        return function(*args, **kwargs)

    return wrapper


def with_a_task(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _thread.has_a_task = True
        try:
            return function(*args, **kwargs)
        finally:
            _thread.has_a_task = False

    return wrapper


def main() -> int:
    for stage, place in STAGES.items():
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        setattr(owner, name, made_to_fail(stage, getattr(owner, name)))
    time.time = lambda: _real_time() + faults().get("clock_s", 0)
    if sys.argv[1] == "worker":
        from unmingle.service.workers import process

        process.WorkerProcess._result = with_a_task(process.WorkerProcess._result)
        while faults().get("hold"):
            time.sleep(0.02)
        del sys.argv[1]
        process.main()
        return 0
    from unmingle.service.cli.command import main as unmingle
    from unmingle.service.workers import launch

    launch.PROGRAM = (sys.executable, __file__, "worker")

    return unmingle()


if __name__ == "__main__":
    sys.exit(main())
