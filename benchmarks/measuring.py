"""What the benchmarks share: measuring in turn, and reports as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import onnxruntime
import soundfile
import soxr
from tqdm import tqdm

from unmingle.model.threads import usable_cores

ROOT = Path(__file__).resolve().parent.parent

T = TypeVar("T")
Row = Mapping[str, object]


def in_turn(calls: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each call gives in every round, after one to warm up.

    Rounds go through all calls, so that whatever else the machine does meanwhile meets all of them alike: ratios
    between them hold even where the seconds do not.
    """
    found: dict[str, list[T]] = {name: [] for name in calls}
    for index in tqdm(range(rounds + 1), unit="round", file=sys.stderr):
        for name, call in calls.items():
            result = call()
            if index:
                found[name].append(result)
    return found


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over rounds of one measurement over another."""
    return median(a / b for a, b in zip(above, below, strict=True))


def machine() -> dict[str, object]:
    """Where and beside what figures were taken."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def report(title: str, about: Mapping[str, object], tables: Mapping[str, Sequence[Row]], out: Path | None) -> None:
    """Print tables as Markdown, and write them as JSON where a file is named."""
    print(f"{title}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items()))
    for name, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        print(f"\n{name}\n\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        for row in rows:
            print("| " + " | ".join(_shown(row.get(column, "")) for column in columns) + " |")
    if out:
        out.write_text(json.dumps({"title": title, "about": dict(about), "tables": dict(tables)}, indent=2) + "\n")


def positive(text: str) -> int:
    """A whole number of 1 or more, as an option of a command."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is '{text}'; expected a whole number of 1 or more")
    return int(text)


def write_recording(path: Path, seconds: float, rate: int) -> None:
    """The two-speaker example over and over, as 16-bit WAV."""
    signal, own = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")
    long = np.resize(signal, round(seconds * own))
    soundfile.write(path, soxr.resample(long, own, rate) if rate != own else long, rate, "PCM_16")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
