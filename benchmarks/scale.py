"""Throughput by the number of workers, measured here and simulated further: `python -m benchmarks.scale [--out FILE]`

Measured: `unmingle serve` with 1 and with as many worker processes as there are cores, each with one thread and one
recording at a time, and always work for each. Recordings of two lengths tell what a request costs, and what a second of
audio. Simulated from that (benchmarks/scale_simulation.py): 1 to 1,000 workers, where it stops scaling, and what moves
it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np

from benchmarks.measuring import machine, median_ratio, positive, report, write_recording
from benchmarks.scale_simulation import Cluster, Cost, Costs, Load, most_audio_per_s, simulate
from benchmarks.serve import Server
from unmingle.model.threads import usable_cores

RATE = 16_000
NETWORK_BYTES_PER_S = 10e9 / 8
"""Of a front: 10 Gbit/s."""
BUSY = 0.9
"""The load that is simulated, of what the cluster can do."""
DECODERS = 3
"""For each front."""
MEDIAN_S, LENGTH_SPREAD = 60.0, 1.0
"""Of simulated recordings: one in six is longer than 2.7 times the median."""
SPREAD = 0.1
"""Assumed, not measured: how much longer or shorter a recording takes than another of its length."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What so many requests took.

    Attributes:
        audio_s: of all recordings together.
        wall_s: from the first request to the last answer.
        front_s, decoder_s, worker_s: processor seconds of the server, of its decoders, and of the workers.
    """

    requests: int
    audio_s: float
    wall_s: float
    front_s: float
    decoder_s: float
    worker_s: float

    @property
    def audio_per_s(self) -> float:
        """Throughput."""
        return self.audio_s / self.wall_s


class ScaledServer:
    """A server with so many one-thread workers.

    Recordings of up to 30 s may take all of them; longer ones would leave half of them to others.
    """

    def __init__(self, folder: Path, workers: int, model: Path | None) -> None:
        folder.mkdir()
        settings = {"worker_processes": workers, "workers": workers, "threads": 1, "decoders": workers}
        self._server, self._workers = Server(folder, model, settings), workers

    def run(self, content: bytes, seconds: float, requests: int) -> Run:
        """Have twice as many recordings in work as there are workers, so that none of them ever waits."""
        before, start = self._cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(2 * self._workers) as pool:
            list(pool.map(lambda _: self._server.separate(content), range(requests)))
        wall = time.perf_counter() - start
        front, decoders, workers = (after - earlier for after, earlier in zip(self._cpu_s(), before, strict=True))
        return Run(requests, requests * seconds, wall, front, decoders, workers)

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def _cpu_s(self) -> tuple[float, float, float]:
        """Processor seconds of the server, of its decoders, and of the workers, so far."""
        server = self._server.process.pid
        decoders = workers = 0.0
        for child in _children(server):
            if b"unmingle.service.workers" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers += _seconds(child)
            else:
                decoders += _seconds(child)
        return _seconds(server), decoders, workers


def main() -> None:
    """Print tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=positive, nargs="+", default=[1, usable_cores()], help="that are measured")
    parser.add_argument("--seconds", type=float, nargs=2, default=[5.0, 30.0], help="lengths of recordings")
    parser.add_argument("--requests", type=positive, default=8, help="of each length and worker, in a round")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--simulate", type=positive, nargs="+", default=[1, 2, 8, 32, 125, 500, 1000], help="workers")
    parser.add_argument("--simulated-requests", type=positive, default=20_000)
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as name:
        runs = measure(Path(name), asked)
    least = min(asked.workers)
    costs = costs_of([runs[least, seconds] for seconds in asked.seconds], asked.seconds)
    measured = [row(workers, seconds, runs[workers, seconds], runs[least, seconds]) for workers, seconds in runs]
    rng = np.random.default_rng(0)
    simulated = [simulated_row(costs, cluster, asked, rng) for cluster in clusters(asked.simulate)]
    parts = {"front": costs.front, "decoder": costs.decoder, "worker": costs.worker}
    tables = {
        "Measured": measured,
        "Processor seconds": [{"of": part, **dataclasses.asdict(cost)} for part, cost in parts.items()],
        f"Simulated, {BUSY:.0%} of what the cluster can do": simulated,
    }
    report("Workers", about, tables, asked.out)


def measure(folder: Path, asked: argparse.Namespace) -> dict[tuple[int, float], list[Run]]:
    """All servers are there at the same time, and are asked in turn."""
    contents: dict[float, bytes] = {}
    for seconds in asked.seconds:
        write_recording(folder / "recording.wav", seconds, RATE)
        contents[seconds] = (folder / "recording.wav").read_bytes()
    servers = {workers: ScaledServer(folder / str(workers), workers, asked.model) for workers in asked.workers}
    runs: dict[tuple[int, float], list[Run]] = {}
    try:
        for round_ in range(asked.rounds + 1):  # the first warms up
            for workers, server in servers.items():
                for seconds, content in contents.items():
                    run = server.run(content, seconds, asked.requests * workers)
                    if round_:
                        runs.setdefault((workers, seconds), []).append(run)
    finally:
        for server in servers.values():
            server.stop()
    return runs


def row(workers: int, seconds: float, runs: Sequence[Run], one: Sequence[Run]) -> dict[str, object]:
    """How much faster than with the fewest workers."""
    rates = [run.audio_per_s for run in runs]
    return {
        "workers": workers,
        "recording s": seconds,
        "audio s per s": median(rates),
        "times the first": median_ratio(rates, [run.audio_per_s for run in one]),
        "CPU s per request, front": median(run.front_s / run.requests for run in runs),
        "decoder": median(run.decoder_s / run.requests for run in runs),
        "worker": median(run.worker_s / run.requests for run in runs),
        "cores in use": median((run.front_s + run.decoder_s + run.worker_s) / run.wall_s for run in runs),
    }


def costs_of(runs: Sequence[Sequence[Run]], seconds: Sequence[float]) -> Costs:
    """A straight line through what recordings of two lengths take."""

    def cost(part: str) -> Cost:
        short, long = (median(getattr(run, part) / run.requests for run in some) for some in runs)
        audio_s = max(0.0, (long - short) / (seconds[1] - seconds[0]))
        return Cost(max(0.0, short - audio_s * seconds[0]), audio_s)

    return Costs(
        front=cost("front_s"),
        decoder=cost("decoder_s"),
        worker=cost("worker_s"),
        in_bytes_per_s=4.0 * RATE,  # decoded, float32
        out_bytes_per_s=3 * 4.0 * RATE,  # two stems and a background
        spread=SPREAD,
    )


def clusters(workers: Sequence[int]) -> list[Cluster]:
    """One front for all; a front for every 100 workers; and those with one worker in twenty at half speed."""
    one = [Cluster(n, 1, DECODERS, NETWORK_BYTES_PER_S) for n in workers]
    fronts = -(-max(workers) // 100)
    many = Cluster(max(workers), fronts, fronts * DECODERS, fronts * NETWORK_BYTES_PER_S)
    return [*one, many, dataclasses.replace(many, straggler_share=0.05, straggler_factor=2.0)]


def simulated_row(
    costs: Costs, cluster: Cluster, asked: argparse.Namespace, rng: np.random.Generator
) -> dict[str, object]:
    """One cluster."""
    shape = Load(1.0, MEDIAN_S, LENGTH_SPREAD, asked.simulated_requests)
    most = most_audio_per_s(costs, cluster, shape)
    load = dataclasses.replace(shape, audio_per_s=BUSY * min(most.values()))
    outcome = simulate(costs, cluster, load, rng)
    return {
        "workers": cluster.workers,
        "fronts": cluster.fronts,
        "slow workers": f"{cluster.straggler_share:.0%}",
        "audio s per s at most": min(most.values()),
        "of ideal": min(most.values()) / most["workers"],
        "limit": min(most, key=lambda station: most[station]),
        "p50 s": outcome.p50_s,
        "p99 s": outcome.p99_s,
        "p99 / alone": outcome.p99_over_alone,
    }


def _seconds(process: int) -> float:
    """Processor seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


if __name__ == "__main__":
    main()
