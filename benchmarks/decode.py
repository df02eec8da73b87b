"""What decoding uploads costs: `python -m benchmarks.decode [FILE] [--uploads 20] [--rounds 5] [--out FILE]`

One after the other, in turn: by a fork server that is kept, as in a server, and by one that is started for each upload.
CPU time is that of all processes but this one. Starts are in the figures: one in each round, or one for each upload.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

from benchmarks.measuring import in_turn, machine, median_ratio, report
from unmingle.service.decoding.decoder import DecodeLimits, Decoder

LIMITS = DecodeLimits(max_seconds=3600, max_bytes=2**30, memory_bytes=2**30, timeout_s=600)


def cost(upload: Path, uploads: int, *, kept: bool) -> tuple[float, float]:
    """Wall and CPU seconds for each upload."""

    async def run() -> None:
        decoder = Decoder(1)
        if kept:
            decoder.start()
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(uploads):
                await decoder.decode(upload, Path(folder) / "decoded", LIMITS)
        await decoder.stop()

    wall, cpu = time.perf_counter(), children_cpu_s()
    asyncio.run(run())
    return (time.perf_counter() - wall) / uploads, (children_cpu_s() - cpu) / uploads


def children_cpu_s() -> float:
    """Of the processes that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "file", type=Path, nargs="?", default=ROOT / "examples" / "two_speakers" / "mixture.flac", help="an upload"
    )
    parser.add_argument("--uploads", type=int, default=20, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    found = in_turn(
        {
            "kept": lambda: cost(asked.file, asked.uploads, kept=True),
            "started for each": lambda: cost(asked.file, asked.uploads, kept=False),
        },
        asked.rounds,
    )
    rows = []
    for name, costs in found.items():
        walls, cpus = zip(*costs, strict=True)
        other = found["started for each"]
        rows.append(
            {
                "fork server": name,
                "wall ms": 1000 * sum(walls) / len(walls),
                "CPU ms": 1000 * sum(cpus) / len(cpus),
                "wall / started for each": median_ratio(walls, [wall for wall, _ in other]),
                "CPU / started for each": median_ratio(cpus, [cpu for _, cpu in other]),
            }
        )
    report("Decoding", about, {"For each upload": rows}, asked.out)


if __name__ == "__main__":
    main()
