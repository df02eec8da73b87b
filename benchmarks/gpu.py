"""Everything that has to be measured on a GPU, in one go: `python benchmarks/gpu.py --float32 FILE [--float16 FILE]`

Parity with the CPU, real-time factor, throughput by batch size, share of the network in the time, memory. FILE are
models that training/publish.py wrote; the bundled one in 8 bits is for CPUs. On a machine without a GPU it says what is
missing, and ends with status 2.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.measuring import in_turn, machine, report
from model.embedder import OnnxEmbedder
from model.errors import UnmingleError
from model.runtime_check import cuda_trouble
from model.segments import SegmentLayout
from model.separator import Separator

PARITY = 1e-3
BATCHES = (1, 2, 4, 8, 16, 32)
RECORDING_S = 60.0


def main() -> int:
    """Print tables and write them as JSON; 0 if the GPU gives what the CPU gives, 1 if not, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--float32", type=Path, required=True, help="the model in float32")
    parser.add_argument("--float16", type=Path, help="the same model in float16")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    if trouble := cuda_trouble():
        print(f"error: nothing can be measured on a GPU here: {trouble}.", file=sys.stderr)
        return 2
    about = machine() | {"gpu": smi("name"), "driver": smi("driver_version")}
    paths = {"float32": asked.float32} | ({"float16": asked.float16} if asked.float16 else {})
    try:
        reference = OnnxEmbedder(asked.float32, "cpu")
        embedders = {name: OnnxEmbedder(path, "cuda") for name, path in paths.items()}
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parities = [parity(name, embedder, reference) for name, embedder in embedders.items()]
    batches = [row for name, embedder in embedders.items() for row in throughput(name, embedder, asked.rounds)]
    whole = [recording(name, embedder, asked.rounds) for name, embedder in embedders.items()]
    memory = [growth(name, embedder) for name, embedder in embedders.items()]
    tables = {
        f"Parity with the CPU in float32 (at most {PARITY:g})": parities,
        "The network by batch size": batches,
        f"{RECORDING_S:g} s from samples to samples": whole,
        "Memory after recordings of many lengths": memory,
    }
    report("GPU", about, tables, asked.out)
    return 0 if all(row["largest difference"] <= PARITY for row in parities if row["model"] == "float32") else 1  # type: ignore[operator]


def features(segments: int, embedder: OnnxEmbedder, frames: int = SegmentLayout().frames) -> np.ndarray:
    """Standing in for speech: (segments, frames, bands)."""
    shape = (segments, frames, embedder.config.bands)
    return np.random.default_rng(0).normal(-2.0, 1.5, shape).astype(np.float32)


def parity(name: str, embedder: OnnxEmbedder, reference: OnnxEmbedder) -> dict[str, object]:
    """How far embeddings differ from the CPU's, at several batch sizes and lengths."""
    worst, cosines = 0.0, []
    for segments, frames in ((1, 1250), (3, 1250), (5, 333), (2, 1)):
        heard = features(segments, embedder, frames)
        found, expected = embedder.embed(heard), reference.embed(heard)
        worst = max(worst, float(np.abs(found - expected).max()))
        cosines.append(float((found * expected).sum(-1).mean()))
    return {"model": name, "largest difference": worst, "least mean cosine": min(cosines)}


def throughput(name: str, embedder: OnnxEmbedder, rounds: int) -> list[dict[str, object]]:
    """Audio seconds per second of the network alone, from the host's memory and back to it."""
    audio_s = SegmentLayout().frames * embedder.config.hop / embedder.config.sample_rate
    rows: list[dict[str, object]] = []
    for segments in BATCHES:
        heard = features(segments, embedder)
        seconds = in_turn({"embed": lambda heard=heard: timed(lambda: embedder.embed(heard))}, rounds)["embed"]
        rows.append({"model": name, "segments": segments, "audio s per s": segments * audio_s / median(seconds)})
    return rows


def recording(name: str, embedder: OnnxEmbedder, rounds: int) -> dict[str, object]:
    """A minute of two speakers: real-time factor, and the network's share of it."""
    rate = embedder.config.sample_rate
    noise = np.random.default_rng(0).standard_normal(round(RECORDING_S * rate)).astype(np.float32) * np.float32(0.1)
    separator = Separator(embedder)

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        stages = separator.separate(noise, rate, 2).stage_seconds
        wall = time.perf_counter() - start
        return wall, stages["embed"] / wall

    runs = in_turn({"separate": once}, rounds)["separate"]
    wall, share = (median(values) for values in zip(*runs, strict=True))
    return {"model": name, "RTF": wall / RECORDING_S, "audio s per s": RECORDING_S / wall, "network's share": share}


def growth(name: str, embedder: OnnxEmbedder) -> dict[str, object]:
    """The GPU's memory in use before and after many different shapes, twice: it must not go on growing."""
    rng = np.random.default_rng(0)
    used = [smi("memory.used")]
    for _ in range(2):
        for frames in rng.integers(2, SegmentLayout().frames, 100):
            embedder.embed(features(int(rng.integers(1, 5)), embedder, int(frames)))
        used.append(smi("memory.used"))
    return {"model": name, "before": used[0], "after 100 shapes": used[1], "after 100 more": used[2]}


def timed(call: object) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


def smi(what: str) -> str:
    """What nvidia-smi says of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader", "-i", "0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
