"""Does a server's memory level off? `python -m benchmarks.server_memory [--requests 500] [--out FILE]`

Sends recordings of 0.5 to 30 s, mixed, from four clients at once, and prints the server's resident memory on the way:
with malloc bounded to two arenas, as the server has it, and with as many arenas as glibc takes by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measuring import machine, positive, report, write_recording
from benchmarks.serve import Server

LENGTHS_S = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
CLIENTS = 4
PARTS = 10


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=positive, default=500)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    of_glibc = 8 * (os.cpu_count() or 1)
    rows = [
        {"arenas": name, **resident(asked.requests, arenas)}
        for name, arenas in (("2", None), (f"{of_glibc}, glibc's own choice", of_glibc))
    ]
    report("Resident memory of a server, MiB", about, {"after so many requests": rows}, asked.out)


def resident(requests: int, arenas: int | None) -> dict[str, object]:
    """MiB by the number of requests that have been answered."""
    chosen = random.Random(0).choices(LENGTHS_S, k=requests)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = {}
        for seconds in LENGTHS_S:
            write_recording(folder / "recording.wav", seconds, 16_000)
            recordings[seconds] = (folder / "recording.wav").read_bytes()
        os.environ.pop("MALLOC_ARENA_MAX", None)
        if arenas is not None:
            os.environ["MALLOC_ARENA_MAX"] = str(arenas)
        server = Server(folder, None)
        found: dict[str, object] = {"0": server.resident_mib()}
        step = max(1, requests // PARTS)
        with ThreadPoolExecutor(CLIENTS) as pool:
            for begin in range(0, requests, step):
                some = [recordings[seconds] for seconds in chosen[begin : begin + step]]
                list(pool.map(server.separate, some))
                found[str(begin + len(some))] = server.resident_mib()
        server.stop()
    return found


if __name__ == "__main__":
    main()
