"""How long does separating take, and what with? `python -m benchmarks.rtf [--peers] [--out FILE]`

From the bytes of a recording to the bytes of a ZIP with its stems, by length and rate, each case in a process of its
own: real-time factor (processing seconds per second of audio), its stages, CPU seconds, and peak memory. With --peers
it also runs separators of other projects on 10 s, in turn with ours, where they are installed; see peers.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

from benchmarks import peers
from benchmarks.measuring import in_turn, machine, median_ratio, report, write_recording
from unmingle.model.separator import Separator
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.output import package, stems
from unmingle.service.schemas import ModelEntry, SeparateParameters

STAGES = {
    "decode": ("decode", "read"),
    "resample": ("resample",),
    "STFT": ("listen", "stft"),
    "diarise": ("diarise",),
    "embed": ("embed",),
    "keep": ("keep",),
    "cluster": ("cluster", "count"),
    "mask": ("mask",),
    "synthesise": ("synthesise",),
    "encode": ("encode",),
}
"""Columns of the table, and the stages that each sums."""

PEERS_S = 10.0

_separator: Separator | None = None


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0, 10.0, 60.0], help="lengths")
    parser.add_argument("--rates", type=int, nargs="+", default=[16_000, 48_000], help="sample rates in Hz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--peers", action="store_true", help="run separators of other projects, too")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    cases = [(seconds, rate) for rate in asked.rates for seconds in asked.seconds]
    if asked.peers and (PEERS_S, 16_000) not in cases:
        cases.append((PEERS_S, 16_000))
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pools = {}
        for seconds, rate in cases:
            path = Path(folder) / f"{seconds:g}s-{rate}.wav"
            write_recording(path, seconds, rate)
            pools[path] = ProcessPoolExecutor(1, spawn, initializer=_load, initargs=(asked.model,))
        calls = {path.stem: (lambda path=path: pools[path].submit(_separate, path).result()) for path in pools}
        found = peers.installed() if asked.peers else []
        with ProcessPoolExecutor(1, spawn) as others:
            calls |= {name: (lambda name=name: others.submit(peers.run, name, PEERS_S).result()) for name in found}
            measured = in_turn(calls, asked.rounds)
        for pool in pools.values():
            pool.shutdown()
    rows = [_row(seconds, rate, measured[f"{seconds:g}s-{rate}"]) for seconds, rate in cases]
    tables = {"Real-time factor, by stage in percent of the wall time": rows}
    if asked.peers:
        ours = [run["wall_s"] for run in measured[f"{PEERS_S:g}s-16000"]]
        tables[f"Beside others, {PEERS_S:g} s: ours from bytes to bytes at 16 kHz, theirs in memory at 8 kHz"] = [
            {"separator": "Unmingle", "RTF": median(ours) / PEERS_S, "times ours": 1.0},
            *(
                {"separator": n, "RTF": median(t) / PEERS_S, "times ours": median_ratio(t, ours)}
                for n, t in ((name, [run["wall_s"] for run in measured[name]]) for name in found)
            ),
        ]
    report("Real-time factor", about, tables, asked.out)
    if asked.peers and not found:
        print(f"\nNo other separator is installed; {peers.HOW_TO}")


def _load(model: Path | None) -> None:
    global _separator  # noqa: PLW0603  (one per process)
    _separator = Separator.load(model, "cpu")


def _separate(path: Path) -> dict[str, float]:
    """Separate a file once: wall and CPU seconds, seconds by stage, and the process's peak memory in MiB."""
    assert _separator is not None
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        target, packed = Path(folder) / "stems", Path(folder) / "packed"
        target.mkdir()
        packed.mkdir()
        model = ModelEntry(name=_separator.embedder.config.name, hash="")
        made = stems.separate(_separator, FileRecording(path), target, model, SeparateParameters.model_validate({}))
        encoding = time.perf_counter()
        package.pack(made, package.Delivery("application/zip"), packed, 0).content.read()
        end = time.perf_counter()
    stages = dict(made.manifest.stage_seconds) | {"encode": end - encoding}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return {**stages, "wall_s": end - wall, "cpu_s": time.process_time() - cpu, "peak_mib": peak}


def _row(seconds: float, rate: int, runs: list[dict[str, float]]) -> dict[str, object]:
    def typical(*names: str) -> float:
        return median(sum(run.get(name, 0.0) for name in names) for run in runs)

    wall = typical("wall_s")
    shares = {column: round(100.0 * typical(*names) / wall, 1) for column, names in STAGES.items()}
    return {
        "length s": seconds,
        "rate Hz": rate,
        "RTF": wall / seconds,
        "CPU s per s": typical("cpu_s") / seconds,
        "peak MiB": round(max(run["peak_mib"] for run in runs)),
        **shares,
        "other": round(100.0 - sum(shares.values()), 1),
        "not the network": round(100.0 - shares["embed"], 1),
    }


if __name__ == "__main__":
    main()
