"""A running server under load: `python -m benchmarks.serve [--clients 1 4 16 64] [--out FILE]`

Starts a server of its own and sends it recordings of a few seconds from so many clients at once, each sending the next
one as soon as it has its answer: throughput, latency, time in the queue, segments per call of the network. In the same
run: the server against a direct call of the separator, alone; throughput against the offline rate; a short recording
beside a long one; memory and processor when idle.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

from benchmarks.measuring import in_turn, machine, median_ratio, report, write_recording
from unmingle.model.separator import Separator
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.output import package, stems
from unmingle.service.schemas import ModelEntry, SeparateParameters

IDLE_S = 3.0
BOUNDARY = "unmingle-benchmark"


class Server:
    """`unmingle serve` in a process of its own."""

    def __init__(self, folder: Path, model: Path | None, settings: Mapping[str, object] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        environment = {
            **os.environ,
            "UNMINGLE_DATA_DIR": str(folder / "data"),
            "UNMINGLE_LOG_LEVEL": "warning",
            "UNMINGLE_MAX_QUEUED_SECONDS": "86400",
            "UNMINGLE_MAX_SECONDS": "86400",
            "UNMINGLE_REQUEST_TIMEOUT_S": "3600",
            **({"UNMINGLE_MODEL": str(model)} if model else {}),
            **{f"UNMINGLE_{name.upper()}": str(value) for name, value in (settings or {}).items()},
        }
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unmingle", "serve", "--port", str(self.port)], cwd=ROOT, env=environment
        )
        while not self._is_ready():
            if self.process.poll() is not None:
                raise SystemExit("The server did not start.")
            time.sleep(0.01)
        self.ready_s = time.perf_counter() - start

    def separate(self, content: bytes) -> float:
        """Send a recording and read its stems; seconds that took."""
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        connection.request("POST", "/separate", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"The server answers {answer.status}: {body[:500]!r}")
        connection.close()
        return time.perf_counter() - start

    def metrics(self) -> dict[str, float]:
        """What /metrics says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)}

    def resident_mib(self) -> float:
        """Memory of the server process and its workers."""
        found = self.metrics()
        return (found["process_resident_memory_bytes"] + found["unmingle_workers_resident_memory_bytes"]) / 2**20

    def idle_cpu(self) -> float:
        """Part of one core that it takes while nobody asks."""
        before = self._cpu_s()
        time.sleep(IDLE_S)
        return (self._cpu_s() - before) / IDLE_S

    def stop(self) -> None:
        """As an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def _cpu_s(self) -> float:
        found = self.metrics()
        return found["process_cpu_seconds_total"] + found["unmingle_workers_cpu_seconds_total"]

    def _is_ready(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False


def main() -> None:
    """Print tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=48, help="at each number of clients, at least one per client")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a recording")
    parser.add_argument("--long-seconds", type=float, default=600.0, help="of the long one that a short one is beside")
    parser.add_argument("--rounds", type=int, default=9, help="of the comparison with a direct call")
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, long = folder / "short.wav", folder / "long.wav"
        write_recording(path, asked.seconds, 16_000)
        write_recording(long, asked.long_seconds, 16_000)
        separator = Separator.load(asked.model, "cpu")
        server = Server(folder, asked.model)
        try:
            idle = {"ready s": server.ready_s, "idle MiB": server.resident_mib(), "idle CPU": server.idle_cpu()}
            content = path.read_bytes()
            calls = {"server": lambda: server.separate(content), "direct": lambda: direct(separator, path)}
            alone = in_turn(calls, asked.rounds)
            loads = [load(server, content, asked.seconds, n, asked.requests) for n in asked.clients]
            offline = offline_rate(separator, path, asked.seconds, asked.requests // 2)
            beside = beside_long(server, content, long.read_bytes())
        finally:
            server.stop()
    ratios = {
        "server / direct, alone": median_ratio(alone["server"], alone["direct"]),
        "offline audio s per s": offline,
        **{f"{r['clients']} clients / offline": r["audio s per s"] / offline for r in loads},  # type: ignore[operator]
        "short beside long / alone": median(beside) / median(alone["server"]),
        "short beside long, slowest / alone": max(beside) / median(alone["server"]),
    }
    tables = {
        f"Load, recordings of {asked.seconds:g} s": loads,
        "Idle": [idle],
        "Ratios": [{"ratio": name, "value": value} for name, value in ratios.items()],
    }
    report("Server", about, tables, asked.out)


def load(server: Server, content: bytes, seconds: float, clients: int, requests: int) -> dict[str, object]:
    """One row: so many clients, each with one request at a time."""
    requests = max(requests, clients)
    before, start = server.metrics(), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        latencies = list(pool.map(lambda _: server.separate(content), range(requests)))
    wall, after = time.perf_counter() - start, server.metrics()

    def more(metric: str) -> float:
        return after.get(metric, 0.0) - before.get(metric, 0.0)

    sizes = {int(size): more(name) for name in after if (size := _batch_size(name))}
    calls = sum(sizes.values())
    p50, p95, p99 = (float(np.percentile(latencies, q)) for q in (50, 95, 99))
    return {
        "clients": clients,
        "requests": requests,
        "audio s per s": requests * seconds / wall,
        "p50 s": p50,
        "p95 s": p95,
        "p99 s": p99,
        "queue s": more("unmingle_queue_seconds_sum") / max(1.0, more("unmingle_queue_seconds_count")),
        "segments per call": sum(size * count for size, count in sizes.items()) / max(1.0, calls),
    }


def direct(separator: Separator, path: Path) -> float:
    """Separate a file without a server, from its bytes to those of a ZIP; seconds that took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target, packed = Path(folder) / "stems", Path(folder) / "packed"
        target.mkdir()
        packed.mkdir()
        entry = ModelEntry(name=separator.embedder.config.name, hash="")
        made = stems.separate(separator, FileRecording(path), target, entry, SeparateParameters.model_validate({}))
        package.pack(made, package.Delivery("application/zip"), packed, 0).content.read()
    return time.perf_counter() - start


def offline_rate(separator: Separator, path: Path, seconds: float, recordings: int) -> float:
    """Audio seconds per second of separating one recording after the other."""
    start = time.perf_counter()
    for _ in range(recordings):
        direct(separator, path)
    return recordings * seconds / (time.perf_counter() - start)


def beside_long(server: Server, content: bytes, long: bytes) -> list[float]:
    """Latencies of short requests, one after the other, for as long as a long one runs."""
    thread = threading.Thread(target=server.separate, args=(long,))
    thread.start()
    while not server.metrics()['unmingle_recordings{engine="requests",state="running"}']:
        time.sleep(0.01)
    latencies = [server.separate(content)]
    while thread.is_alive() and len(latencies) < 20:
        latencies.append(server.separate(content))
    thread.join()
    return latencies


def _batch_size(metric: str) -> str | None:
    found = re.fullmatch(r'unmingle_batches_total\{size="(\d+)"\}', metric)
    return found[1] if found else None


if __name__ == "__main__":
    main()
