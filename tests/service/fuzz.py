"""`make fuzz`: tries uploads on the header check and the decoder, some of them on a real server, and reports.

Every upload is a good file that something happened to. What is no good must be refused with a 4xx, within the limits
on time and memory; whatever else comes out is a fault: it is printed, and the upload kept in --keep.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.service.fuzzing import DecoderProcess, fault_of, mutated
from tests.service.harness import ROOT, RunningServer, post

_MIB = 2**20
_MAX_GROWTH = 100 * _MIB
_REQUEST_LIMIT_S = 120.0


class Report:
    """Outcomes, and what is wrong."""

    def __init__(self, keep: Path) -> None:
        self.keep = keep
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.slowest_s, self.most_bytes = 0.0, 0
        self.stopped = threading.Event()

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        if (total := self.outcomes.total()) % 1000 == 0:
            print(f"{total} ...", flush=True)

    def fault(self, what: str, content: bytes) -> None:
        self.keep.mkdir(parents=True, exist_ok=True)
        path = self.keep / f"{len(self.faults)}.upload"
        path.write_bytes(content)
        self.faults.append(f"{what}: {path}")
        print(f"FAULT {self.faults[-1]}", flush=True)


def decode(report: Report, seed: int, tries: int) -> None:
    """Header check and decoder."""
    generator, process = random.Random(seed), DecoderProcess()
    for _ in range(tries):
        if report.stopped.is_set():
            break
        content = mutated(generator)
        found = process.try_upload(content)
        report.count(found["outcome"])
        report.slowest_s = max(report.slowest_s, found.get("seconds", 0.0))
        report.most_bytes = max(report.most_bytes, found.get("rss_bytes", 0))
        if what := fault_of(found):
            report.fault(what, content)
    process.close()


def send(report: Report, seed: int, tries: int) -> str:
    """A real server over its socket; returns how its memory went."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        try:
            server = RunningServer(Path(directory), {"UNMINGLE_MAX_SECONDS": "60"})
        except pytest.fail.Exception as error:
            report.fault(str(error), b"")
            return "did not start"
        try:
            for _ in range(5):  # what it takes for good is no growth
                post(server, mutated(generator))
            before = most = server.resident_bytes()
            for _ in range(tries):
                if report.stopped.is_set():
                    break
                content, start = mutated(generator), time.monotonic()
                status = post(server, content).status_code
                report.count(f"HTTP {status}")
                most = max(most, server.resident_bytes())
                if not (status == 200 or 400 <= status < 500) or time.monotonic() - start > _REQUEST_LIMIT_S:
                    report.fault(f"HTTP {status} after {time.monotonic() - start:.1f} s", content)
            if most - before > _MAX_GROWTH:
                report.fault(f"the server grew by {(most - before) / _MIB:.0f} MiB", b"")
            if server.http.get("/readyz").status_code != 200:
                report.fault("the server is not ready", b"")
        finally:
            server.kill()
    return f"{before / _MIB:.0f} MiB before, {most / _MIB:.0f} MiB at most"


def guided(tries: int) -> str:
    """atheris, which finds its own way through the header check; returns how it went, or why not."""
    command = [sys.executable, str(ROOT / "tests" / "service" / "fuzz_guided.py"), f"-runs={tries}", "-seed=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    if done.returncode == 4:
        return "not run: atheris is not installed (it has wheels for Linux on x86-64 only)"
    return f"{tries} runs, nothing found" if done.returncode == 0 else "FAULT\n" + "\n".join(lines[-40:])


def main() -> int:
    """Run and report; 1 where there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20_000, help="uploads, all together (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=ROOT / "runs" / "fuzz", help="where uploads go that find a fault")
    asked = parser.parse_args()
    report, start = Report(asked.keep), time.monotonic()
    sent = asked.tries // 20
    share = -(-(asked.tries - sent) // asked.processes)
    with concurrent.futures.ThreadPoolExecutor(asked.processes + 2) as pool:
        decoding = [pool.submit(decode, report, asked.seed + 1 + number, share) for number in range(asked.processes)]
        memory = pool.submit(send, report, asked.seed, sent)
        atheris = pool.submit(guided, asked.tries)
        try:
            concurrent.futures.wait([*decoding, memory])
        except KeyboardInterrupt:  # what was found until here is worth telling
            report.stopped.set()
        for future in decoding:
            future.result()
        print(f"{report.outcomes.total()} uploads in {time.monotonic() - start:.0f} s, seed {asked.seed}")
        for outcome, count in report.outcomes.most_common():
            print(f"{count:8}  {outcome}")
        print(f"slowest decoding {report.slowest_s:.2f} s, largest decoder {report.most_bytes / _MIB:.0f} MiB")
        print(f"server: {memory.result()}")
        print(f"guided: {(found := atheris.result())}")
    failed = len(report.faults) + found.startswith("FAULT")
    print(f"{failed} faults" if failed else "no faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
