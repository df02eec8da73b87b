"""What happens to a server that is offered more than it can do? `python -m benchmarks.overload`

Starts `unmingle serve` with default settings, finds its best throughput with as many requests at a time as do it most
good, then offers a multiple of that for a minute, at even intervals and whatever comes back. Prints a table and writes
JSON. It passes if there is nothing but 200, 429 and 503, each refusal says when to come back, the slowest hundredth of
what was accepted is within the deadline, throughput is at least 0.9 of the best, and memory is steady.

Server and client share the machine, as do the others who use it: the ratio means more than the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "examples" / "two_speakers" / "mixture.flac"
RECORDING_S = 5.0
DEADLINE_S = 120.0
STEADY_BYTES = 100 * 2**20


@dataclasses.dataclass(frozen=True)
class Answer:
    """One request. `status` is 0 where there was no answer; `sent_s` counts from the start of the phase."""

    status: int
    sent_s: float
    seconds: float
    says_when: bool = False


class Server:
    """A server process of our own."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UNMINGLE_")}
        environment |= {"PYTHONPATH": str(ROOT), "UNMINGLE_DATA_DIR": str(directory / "data")}
        environment |= {"UNMINGLE_LOG_LEVEL": "warning", "UNMINGLE_REQUEST_TIMEOUT_S": str(DEADLINE_S)}
        command = [sys.executable, "-m", "unmingle", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=environment, cwd=directory)

    def resident_bytes(self) -> int:
        """Of the server, its workers and its fork server; decoders have theirs for a moment."""
        children = [path.read_text().split() for path in Path(f"/proc/{self.process.pid}/task").glob("*/children")]
        total = 0
        for process in (str(self.process.pid), *(child for some in children for child in some)):
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
            total += 1024 * int(found[1]) if found else 0
        return total

    async def ready(self) -> bool:
        """Whether /readyz says so."""
        return (await call(self.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200


async def call(port: int, request: bytes) -> tuple[int, bool]:
    """(status, whether there is a Retry-After); status 0 where the connection broke."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, False
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        return int(head.split(b" ", 2)[1]), b"\r\nretry-after: " in head
    except (OSError, asyncio.IncompleteReadError):
        return 0, False
    finally:
        writer.close()


def separate_request() -> bytes:
    """A request for two stems, as bytes."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + RECORDING.read_bytes() + b"\r\n--xyz--\r\n"
    fields = f"Host: x\r\nContent-Type: multipart/form-data; boundary=xyz\r\nContent-Length: {len(body)}\r\n"
    return b"POST /separate HTTP/1.1\r\n" + fields.encode() + b"\r\n" + body


async def timed(port: int, request: bytes, begun: float) -> Answer:
    """One request."""
    start = time.monotonic()
    status, says_when = await call(port, request)
    return Answer(status, start - begun, time.monotonic() - start, says_when)


async def closed_loop(port: int, request: bytes, at_a_time: int, seconds: float) -> float:
    """Requests done in a second, if there are always `at_a_time`."""
    begun, done = time.monotonic(), 0

    async def client() -> None:
        nonlocal done
        while time.monotonic() < begun + seconds:
            answer = await timed(port, request, begun)
            assert answer.status == 200, answer
            done += 1

    await asyncio.gather(*(client() for _ in range(at_a_time)))
    return done / (time.monotonic() - begun)


async def open_loop(server: Server, request: bytes, rate: float, seconds: float) -> tuple[list[Answer], list[int]]:
    """Answers to requests that are sent at this rate, and the server's memory, second by second."""
    begun, memory = time.monotonic(), [server.resident_bytes()]

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            memory.append(server.resident_bytes())

    watching = asyncio.create_task(watch())
    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(timed(server.port, request, begun)))
    answers = await asyncio.gather(*tasks)
    watching.cancel()
    return answers, memory


def summarise(
    answers: list[Answer], memory: list[int], before: float, after: float, rate: float, seconds: float
) -> dict[str, object]:
    """The figures, and what is wrong with them."""
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status in (429, 503)]
    # From the first request to the last answer, so that neither the queue's filling nor its emptying is left out.
    throughput = len(accepted) / max((answer.sent_s + answer.seconds for answer in accepted), default=seconds)
    best = (before + after) / 2
    percentiles = {
        name: [round(float(np.percentile([a.seconds for a in some], at)), 3) for at in (50, 95, 99)] if some else None
        for name, some in (("accepted", accepted), ("refused", refused))
    }
    statuses = Counter(answer.status for answer in answers)
    growth = max(memory) - memory[min(10, len(memory) - 1)]
    faults = []
    if unforeseen := set(statuses) - {200, 429, 503}:
        faults.append(f"answers other than 200, 429, 503: {sorted(unforeseen)}")
    if not all(answer.says_when for answer in refused):
        faults.append("refusals without Retry-After")
    if percentiles["accepted"] is None or percentiles["accepted"][2] > DEADLINE_S:
        faults.append("the slowest accepted are past the deadline")
    if throughput < 0.9 * best:
        faults.append("throughput is under 0.9 of the best")
    if growth > STEADY_BYTES:
        faults.append("memory grows")
    return {
        "best_requests_per_s_before_after": [round(before, 2), round(after, 2)],
        "offered_requests_per_s": round(rate, 2),
        "seconds": seconds,
        "recording_s": RECORDING_S,
        "statuses": dict(sorted(statuses.items())),
        "accepted_s_p50_p95_p99": percentiles["accepted"],
        "refused_s_p50_p95_p99": percentiles["refused"],
        "deadline_s": DEADLINE_S,
        "throughput_requests_per_s": round(throughput, 2),
        "throughput_of_best": round(throughput / best, 3),
        "resident_mib_start_end_most": [round(value / 2**20) for value in (memory[0], memory[-1], max(memory))],
        "faults": faults,
    }


async def measure(server: Server, asked: argparse.Namespace) -> dict[str, object]:
    """All of it."""
    while not await server.ready():
        await asyncio.sleep(0.1)
    request = separate_request()
    await closed_loop(server.port, request, 2, 3)
    rates = {}
    for at_a_time in asked.at_a_time:
        rates[at_a_time] = await closed_loop(server.port, request, at_a_time, asked.search)
        print(f"{at_a_time:3} at a time: {rates[at_a_time]:.2f} requests/s", flush=True)
    best = max(rates.values())
    answers, memory = await open_loop(server, request, asked.times * best, asked.seconds)
    # What else the machine does may change in a minute: the best once more, right after.
    again = await closed_loop(server.port, request, max(rates, key=lambda key: rates[key]), asked.search)
    return summarise(answers, memory, best, again, asked.times * best, asked.seconds)


def main() -> int:
    """Print a table, write JSON; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=4.0, help="of the best throughput (default 4)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 2, 4, 8], help="tried to find the best")
    parser.add_argument("--search", type=float, default=15.0, help="seconds for each of these")
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "overload.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            result = asyncio.run(measure(server, asked))
        finally:
            server.process.terminate()
            server.process.wait()
    print("\n| | |\n|---|---|")
    for name, value in result.items():
        print(f"| {name.replace('_', ' ')} | {value} |")
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
