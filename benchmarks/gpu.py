"""Everything that has to be measured on a GPU, in one go: `python -m benchmarks.gpu --float32 FILE [--float16 FILE]`

Parity with the CPU, a minute from samples to samples by stages, many recordings at once, throughput by batch size,
memory. FILE are models that training/publish.py wrote; the bundled one in 8 bits is for CPUs. Figures are printed as
they come, and tables at the end; what fails does not end the rest. On a machine without a GPU it says what is missing,
and ends with status 2.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

from benchmarks.at_once import batcher, by_processes, by_threads, voices
from benchmarks.measuring import in_turn, machine, report
from unmingle.model.embedding.device import Device
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.embedder import Embedder, OnnxEmbedder
from unmingle.model.embedding.runtime_check import cuda_trouble
from unmingle.model.errors import UnmingleError
from unmingle.model.separator import Separator
from unmingle.model.signal.segments import SegmentLayout

DEVICE: Device = "cuda"
PARITY, MASK_PARITY = 1e-3, 1e-5
BATCHES = (1, 2, 4, 8, 16)
RECORDING_S = 60.0
AT_ONCE = {1: 4, 4: 2, 8: 1, 16: 1}
"""Threads, and how many recordings each of them separates."""
PROCESSES, THREADS_EACH = 4, 4
SHAPES = 30

Row = dict[str, object]


def main() -> int:
    """Print tables and write them as JSON; 0 if the GPU gives what the CPU gives, 1 if not, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--float32", type=Path, required=True, help="the model in float32")
    parser.add_argument("--float16", type=Path, help="the same model in float16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most-s", type=float, default=600.0, help="begin nothing more after so many seconds")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    begun = time.perf_counter()
    if trouble := cuda_trouble():
        print(f"error: nothing can be measured on a GPU here: {trouble}.", file=sys.stderr)
        return 2
    about = machine() | {"gpu": smi("name"), "driver": smi("driver_version")}
    paths = {"float32": asked.float32} | ({"float16": asked.float16} if asked.float16 else {})
    try:
        reference = OnnxEmbedder(asked.float32, "cpu")
        embedders = {name: OnnxEmbedder(path, DEVICE) for name, path in paths.items()}
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    served = list(embedders)[-1]
    parts: dict[str, list[Callable[[], Iterator[Row]]]] = {
        f"Parity with the CPU in float32 (at most {PARITY:g})": [
            lambda name=name, e=e: parity(name, e, reference) for name, e in embedders.items()
        ],
        f"Masks of the GPU beside the CPU's of the same embeddings (at most {MASK_PARITY:g})": [
            lambda name=name, e=e: mask_parity(name, e) for name, e in embedders.items()
        ],
        f"{RECORDING_S:g} s from samples to samples, sources counted; stages in percent": [
            lambda name=name, e=e: recording(name, e, asked.rounds) for name, e in embedders.items()
        ],
        f"Recordings of {RECORDING_S:g} s at once, {served}": [lambda: at_once(embedders[served])],
        "The network by batch size": [
            lambda name=name, e=e: throughput(name, e, asked.rounds) for name, e in embedders.items()
        ],
        "Memory after recordings of many lengths": [
            lambda name=name, e=e: growth(name, e) for name, e in embedders.items()
        ],
        f"The same in {PROCESSES} processes, {served}": [
            lambda: iter([by_processes(paths[served], DEVICE, PROCESSES, THREADS_EACH, RECORDING_S)])
        ],
    }
    tables: dict[str, list[Row]] = {title: [] for title in parts}
    well = True
    for title, calls in parts.items():
        for call in calls:
            well &= gather(title, call, tables[title], late=time.perf_counter() - begun > asked.most_s)
    report("GPU", about, tables, asked.out)
    print(f"\n{time.perf_counter() - begun:.0f} s")
    return 0 if well and agrees(tables) else 1


def gather(title: str, part: Callable[[], Iterator[Row]], rows: list[Row], late: bool) -> bool:
    """Whether nothing went wrong; rows are printed as they come."""
    if late:
        print(f"left out, for it is late: {title}", flush=True)
        return True
    try:
        for row in part():
            rows.append(row)
            print(f"{title}: {row}", flush=True)
    except Exception:  # whatever it is, the other parts are worth having
        traceback.print_exc()
        return False
    return True


def agrees(tables: dict[str, list[Row]]) -> bool:
    """Whether the figures that have a limit keep to it; in float16 embeddings have none."""
    rows = [row for table in tables.values() for row in table]
    embeddings = [
        row["largest difference"] for row in rows if "largest difference" in row and row["model"] == "float32"
    ]
    masks = [row["masks differ by"] for row in rows if "masks differ by" in row]
    # A row holds texts, too, but not under these names.
    return all(d <= PARITY for d in embeddings) and all(d <= MASK_PARITY for d in masks)  # type: ignore[operator]


def features(segments: int, embedder: OnnxEmbedder, frames: int = SegmentLayout().frames) -> np.ndarray:
    """Standing in for speech: (segments, frames, bands)."""
    shape = (segments, frames, embedder.config.bands)
    return np.random.default_rng(0).normal(-2.0, 1.5, shape).astype(np.float32)


def parity(name: str, embedder: OnnxEmbedder, reference: OnnxEmbedder) -> Iterator[Row]:
    """How far embeddings differ from the CPU's, at several batch sizes and lengths."""
    worst, cosines = 0.0, []
    for segments, frames in ((1, 1250), (3, 1250), (5, 333), (2, 1)):
        heard = features(segments, embedder, frames)
        found, expected = embedder.embed(heard), reference.embed(heard)
        worst = max(worst, float(np.abs(found - expected).max()))
        cosines.append(float((found * expected).sum(-1).mean()))
    yield {"model": name, "largest difference": worst, "least mean cosine": min(cosines)}


def mask_parity(name: str, embedder: OnnxEmbedder) -> Iterator[Row]:
    """How far what is computed where embeddings lie differs from what the host computes of the same ones."""
    rng = np.random.default_rng(0)
    dim, sharpness = embedder.config.embedding_dim, embedder.config.mask_sharpness
    for frames in (1250, 333):
        heard = features(3, embedder, frames)
        there, copied = embedder.embed_each(heard)[1], embedder.embed(heard)[1]
        here = OnHost(there.array())
        chosen = rng.integers(frames * embedder.config.bands, size=8192)
        for sources in (2, 5):
            centroids = rng.standard_normal((sources, dim)).astype(np.float32)
            centroids /= np.linalg.norm(centroids, axis=-1, keepdims=True)
            soft = np.abs(there.soft_masks(centroids, sharpness) - here.soft_masks(centroids, sharpness)).max()
            hard = (there.hard_masks(centroids) != here.hard_masks(centroids)).any(0).mean()
            yield {
                "model": name,
                "kind": type(there).__name__,
                "frames": frames,
                "sources": sources,
                "masks differ by": float(soft),
                "bins of another source": float(hard),
                "sample differs by": float(np.abs(there.at(chosen) - here.at(chosen)).max()),
                "from a second call by": float(np.abs(here.vectors - copied).max()),
            }


class Copying:
    """An embedder that copies all embeddings to the host."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self.config, self.segments_at_once, self.embed = embedder.config, embedder.segments_at_once, embedder.embed


def recording(name: str, embedder: OnnxEmbedder, rounds: int) -> Iterator[Row]:
    """A minute of two speakers: speed, and where the time goes, with embeddings left on the GPU and copied from it."""
    rate = embedder.config.sample_rate
    mixture = voices(RECORDING_S, rate)

    def once(embedder: Embedder) -> tuple[float, dict[str, float]]:
        start = time.perf_counter()
        stages = Separator(embedder).separate(mixture, rate).stage_seconds
        return time.perf_counter() - start, dict(stages)

    ways: dict[str, Embedder] = {"on the GPU": embedder, "copied": Copying(embedder)}
    runs = in_turn({way: lambda e=e: once(e) for way, e in ways.items()}, rounds)
    for way, results in runs.items():
        wall = median(wall for wall, _ in results)
        stages = {stage: 100.0 * median(s.get(stage, 0.0) / w for w, s in results) for stage in results[0][1]}
        yield {
            "model": name,
            "embeddings": way,
            "audio s per s": RECORDING_S / wall,
            "CPU ms per audio s": 1000.0 * (1.0 - stages["embed"] / 100.0) * wall / RECORDING_S,
        } | {stage: round(share, 1) for stage, share in (stages | {"rest": 100.0 - sum(stages.values())}).items()}


def at_once(embedder: OnnxEmbedder) -> Iterator[Row]:
    """Many recordings through one batcher, as a server separates them."""
    ways = {"on the GPU": batcher(embedder), "copied": batcher(Copying(embedder))}
    by_threads(ways["on the GPU"], 8, RECORDING_S, 1)  # shapes that are new cost time
    for threads, recordings in AT_ONCE.items():
        for way, shared in ways.items():
            yield {"embeddings": way} | by_threads(shared, threads, RECORDING_S, recordings)


def throughput(name: str, embedder: OnnxEmbedder, rounds: int) -> Iterator[Row]:
    """Audio seconds per second of the network alone, embeddings left on the GPU and copied from it."""
    audio_s = SegmentLayout().frames * embedder.config.hop / embedder.config.sample_rate
    for segments in BATCHES:
        heard = features(segments, embedder)
        calls = {"on the GPU": embedder.embed_each, "copied": embedder.embed}
        found = in_turn({way: lambda c=call, h=heard: timed(c, h) for way, call in calls.items()}, rounds)
        speeds = {f"audio s per s, {way}": segments * audio_s / median(seconds) for way, seconds in found.items()}
        yield {"model": name, "segments": segments} | speeds


def growth(name: str, embedder: OnnxEmbedder) -> Iterator[Row]:
    """The GPU's memory in use before and after many different shapes, twice: it must not go on growing."""
    rng = np.random.default_rng(0)
    used = [smi("memory.used")]
    for _ in range(2):
        for frames in rng.integers(2, SegmentLayout().frames, SHAPES):
            embedder.embed_each(features(int(rng.integers(1, 5)), embedder, int(frames)))
        used.append(smi("memory.used"))
    yield {"model": name, "before": used[0], f"after {SHAPES} shapes": used[1], f"after {SHAPES} more": used[2]}


def timed(call: Callable[[np.ndarray], object], heard: np.ndarray) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    call(heard)
    return time.perf_counter() - start


def smi(what: str) -> str:
    """What nvidia-smi says of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader", "-i", "0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
