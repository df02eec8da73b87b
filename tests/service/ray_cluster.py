"""A Ray cluster of two nodes on this machine, in a process of its own: tests themselves do not import Ray.

As a script, it starts the head and prints its address, then does what lines on standard input say: "add" or "kill" the
second node, or "hide" and a directory, which nodes that are added after that see as an empty one of their own. It ends,
with all nodes, when standard input does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.service.harness import ROOT, children_of, read

AVAILABLE = importlib.util.find_spec("ray") is not None
MARKS = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="Ray is not installed: pip install 'unmingle[cluster]'"),
]
"""Of the modules that need it."""
WITHIN_S = 120
START_S = 200
"""Ray starts many processes, and the machine may be busy with others."""
CPUS = (1, 7)
"""Of the first node and the second."""
_OWN_MOUNTS, _PRIVATE = 0x20000, 0x4000 | 0x40000
"""CLONE_NEWNS; MS_REC and MS_PRIVATE."""
_STORE_BYTES = 100 * 2**20


class RayCluster:
    """The nodes, and the workers on them."""

    def __init__(self, log: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray Serve would replace its proxy again and again where the machine is busy with others.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
            "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
            # Workers would stand back behind all other tests, and fronts of a server with them.
            "RAY_worker_niceness": "0",
        }
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.service.ray_cluster"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.address = self._answer()
        self.second: int | None = None
        """Process of the second node's raylet."""
        self.hides = False
        """Whether that has another disk somewhere."""

    def add(self) -> None:
        """Start the second node."""
        self.second = int(self._ask("add"))

    def hide(self, directory: Path) -> None:
        """Let the second node, which is not there yet, have another disk at this place, where that is allowed."""
        self.hides = self._ask(f"hide {directory}") == "True"

    def kill(self) -> None:
        """End the second node, without a chance to say so."""
        self._ask("kill")
        self.second = None

    def workers(self) -> dict[int, tuple[int, int]]:
        """Processes of the workers, each with those of its actor and of its node's raylet."""
        found = {}
        for raylet in (child for child in children_of(self._process.pid) if b"raylet" in read(child, "cmdline")):
            for actor in (child for child in children_of(raylet) if read(child, "cmdline").startswith(b"ray::Host")):
                for worker in children_of(actor):
                    if b"workers.process" in read(worker, "cmdline"):
                        found[worker] = actor, raylet
        return found

    def close(self) -> None:
        """End all nodes."""
        try:
            self._process.communicate(timeout=60)
        finally:
            self._process.kill()

    def _ask(self, what: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("done "):
                return line.removeprefix("done ").strip()
        raise RuntimeError("the Ray cluster has ended; see its log")


def until(what: Callable[[], object]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.1)  # a look costs the server some of the time that it is waited for


def files_of(answer: httpx.Response) -> dict[str, bytes]:
    """All but the manifest, which tells times."""
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}


def refused(directory: Path, settings: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """`unmingle serve`, which ends at once and says why."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNMINGLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "unmingle", "serve", "--port", "0", *options],
        env={**environment, "UNMINGLE_DATA_DIR": str(directory), **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done


def main() -> None:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": CPUS[0], "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = None
    print("done", cluster.address, flush=True)
    for line in sys.stdin:
        match line.split(maxsplit=1):
            case ["hide", directory]:
                print("done", hide(directory.strip()), flush=True)
            case ["add"]:
                second = cluster.add_node(num_cpus=CPUS[1], object_store_memory=_STORE_BYTES)
                print("done", second.all_processes["raylet"][0].process.pid, flush=True)
            case ["kill"]:
                cluster.remove_node(second, allow_graceful=False)
                print("done -", flush=True)
    cluster.shutdown()


def hide(directory: str) -> bool:
    """Have an empty file system there, for this thread and the processes that it starts from now on."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_OWN_MOUNTS) or library.mount(b"none", b"/", None, _PRIVATE, None):
        return False
    return library.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, None) == 0


if __name__ == "__main__":
    main()
