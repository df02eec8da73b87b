"""Does memory grow with the recording? `python -m benchmarks.memory --minutes 30 180`

Makes 48 kHz stereo recordings of the given lengths from the examples, runs `unmingle separate` on each in a process
of its own, and prints that process's peak resident memory and real-time factor. Needs disk: 180 minutes take 2 GB,
their stems 8 GB more; all is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parent.parent
RATE = 48_000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[30.0, 180.0])
    parser.add_argument("--folder", type=Path, help="where there is room (default: the system's temporary folder)")
    asked = parser.parse_args()
    print("| 48 kHz stereo | peak RSS | RTF |\n|---|---|---|")
    for minutes in asked.minutes:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            recording = Path(folder) / "recording.wav"
            write(recording, minutes)
            rss, seconds = separate(recording, Path(folder) / "stems")
        print(f"| {minutes:g} min | {rss / 2**20:.0f} MiB | {seconds / 60.0 / minutes:.4f} |", flush=True)


def write(path: Path, minutes: float) -> None:
    """The two-speaker example over and over, in stereo, never quite in step."""
    signal, rate = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")
    wide = soxr.resample(signal, rate, RATE)
    stereo = np.stack((wide, np.roll(wide, 31)), axis=-1)
    left = round(minutes * 60 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16", format="RF64") as file:
        while left > 0:
            file.write(stereo[:left])
            left -= len(stereo)


def separate(recording: Path, output: Path) -> tuple[float, float]:
    """Peak RSS in bytes and wall seconds of `unmingle separate`."""
    command = [sys.executable, "-m", "unmingle", "separate", str(recording), "-o", str(output)]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"unmingle separate failed with status {status}")
    return usage.ru_maxrss * 1024.0, time.monotonic() - start


if __name__ == "__main__":
    main()
