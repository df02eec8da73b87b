"""A real server process, and requests to it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from unmingle.service import problems

ROOT = Path(__file__).parent.parent.parent
START_S = 60.0


class RunningServer:
    """One `unmingle serve` process."""

    def __init__(
        self,
        directory: Path,
        environment: dict[str, str],
        command: tuple[str, ...] = ("-m", "unmingle"),
        options: tuple[str, ...] = (),
        start_s: float = START_S,
    ) -> None:
        self.directory, self.command, self.options, self.start_s = directory, command, options, start_s
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = _client(self.url)
        self.log = directory / "log.txt"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("UNMINGLE_")},
            "PYTHONPATH": str(ROOT),
            "UNMINGLE_DATA_DIR": str(directory / "data"),
            "UNMINGLE_REQUEST_TIMEOUT_S": "3600",  # the machine may be busy with others
            **environment,
        }
        self.start()

    def start(self) -> None:
        """Start the process (again), and wait until it is healthy."""
        self.http.close()
        self.http = _client(self.url)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command, "serve", "--port", str(self.port), *self.options],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + self.start_s
        while True:
            try:
                if self.http.get("/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                pytest.fail("The server did not get healthy:\n" + self.log.read_text())
            time.sleep(0.05)

    def wait_for(self, what: Callable[[dict], bool], within_s: float = 60.0) -> None:
        """Ask /health until its body is as wanted."""
        give_up = time.monotonic() + within_s
        while not what(body := self.http.get("/health", timeout=5).json()):
            if time.monotonic() > give_up:
                pytest.fail(f"/health does not get as wanted: {body}")
            time.sleep(0.02)

    def resident_bytes(self) -> int:
        """Memory of the server process and its workers."""
        statuses = [read(process, "status") for process in (self.process.pid, *workers_of(self.process.pid))]
        return 1024 * sum(int(found[1]) for status in statuses if (found := re.search(rb"VmRSS:\s+(\d+)", status)))

    def spooled(self) -> list[Path]:
        """What requests in flight keep on disk."""
        return list((Path(self.environment["UNMINGLE_DATA_DIR"]) / "spool").iterdir())

    def unlinked(self) -> list[str]:
        """Files that are deleted and take up space all the same: the server or a worker has them open."""
        found = []
        for process in (self.process.pid, *workers_of(self.process.pid)):
            with contextlib.suppress(OSError):  # closed meanwhile, or the worker has gone
                for entry in Path(f"/proc/{process}/fd").iterdir():
                    if (target := os.readlink(entry)).endswith(" (deleted)"):
                        found.append(target)
        return found

    def terminate(self) -> None:
        """Ask the server to stop, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process without a chance to clean up."""
        self.process.kill()
        self.process.wait(timeout=60)
        self.http.close()


StartServer = Callable[..., RunningServer]


class Faults:
    """The file that tells the faulty server what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set()

    def set(self, **faults: object) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(faults))
        os.replace(new, self.path)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=120, trust_env=False, verify=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(process: int) -> list[int]:
    """Process numbers; none where it has gone."""
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def decoders_of(process: int) -> list[int]:
    """The decoders of a server that have an upload; another one stands by."""
    forked = [child for fork_server in fork_servers_of(process) for child in children_of(fork_server)]
    return [child for child in forked if _has_files(child)]


def _has_files(process: int) -> bool:
    try:
        files = {os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()}
    except OSError:  # it has ended
        return False
    return any(file.startswith("/") and file != os.devnull and "memfd" not in file for file in files)


def fork_servers_of(process: int) -> list[int]:
    """The server's child that forks decoders: an empty list while it has none."""
    return [child for child in children_of(process) if b"fork_server" in read(child, "cmdline")]


def workers_of(process: int) -> list[int]:
    """The server's children that separate."""
    return [child for child in children_of(process) if b"worker" in read(child, "cmdline")]


def read(process: int, what: str) -> bytes:
    """A file of /proc; empty where the process has gone."""
    try:
        return Path(f"/proc/{process}/{what}").read_bytes()
    except OSError:
        return b""


def separating(body: dict) -> bool:
    return body["queue"]["running"] > 0


def idle(body: dict) -> bool:
    return body["queue"]["running"] == body["queue"]["waiting"] == 0


def request_bytes(content: bytes, announced: int | None = None) -> bytes:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + content + b"\r\n--xyz--\r\n"
    )
    head = (
        "POST /separate?num_sources=8 HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=xyz\r\n"
        f"Content-Length: {announced or len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=120)


def noise(seconds: float, rate: int = 16_000) -> bytes:
    """A WAV of noise."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * rate)).astype(np.float32)
    return encoded(samples, rate, subtype="PCM_16")


def post(server: RunningServer, content: bytes, **parameters: object) -> httpx.Response:
    """The answer to an upload; unless the test says otherwise, the stems alone add up to it."""
    asked = {"background": "share", **parameters}
    return server.http.post("/separate", params=asked, files={"file": content}, timeout=240)


def unpack(response: httpx.Response) -> tuple[dict, list[np.ndarray]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        names = [stem["file"] for stem in manifest["stems"]]
        others = [manifest["background"]] if manifest["background"] else []
        assert sorted(archive.namelist()) == sorted([*names, *others, "manifest.json", "activity.rttm"])
        stems = []
        for name in names:
            samples, rate = soundfile.read(io.BytesIO(archive.read(name)), dtype="float32", always_2d=True)
            assert rate == manifest["sample_rate"]
            stems.append(samples.T)
    return manifest, stems


def encoded(samples: np.ndarray, rate: int, format: str = "WAV", subtype: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def problem_of(response: httpx.Response, status: int, code: str) -> dict:
    """The body of a problem, which is well-formed and of this kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == problems.TYPE_PREFIX + code
    assert body["detail"] and body["title"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body
