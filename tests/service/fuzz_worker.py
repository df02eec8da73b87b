"""Decodes upload after upload as the service does, each in a forked process of its own.

Reads from standard input: a length in 8 bytes, then so many bytes of an upload, again and again. Writes a line of JSON
for each: `outcome` is "decoded", the code of a problem, or how the process died.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from unmingle.service.decoding import audio_header
from unmingle.service.decoding.child import decode_confined
from unmingle.service.problems import Problem

MAX_SECONDS, MAX_BYTES, MEMORY_BYTES, CPU_S = 60.0, 50_000_000, 2**30, 20
HANG_S = 30.0


def try_upload(upload: Path, target: Path) -> dict[str, Any]:
    try:
        audio_header.inspect(upload)
    except Problem as problem:
        return {"outcome": problem.code, "by": "header"}
    start, (receive, send) = time.perf_counter(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        os._exit(_decode(upload, target, send))
    os.close(send)
    report = b""
    while more := os.read(receive, 65536):
        report += more
    os.close(receive)
    _, status, usage = os.wait4(child, 0)
    answer = json.loads(report) if report else {}
    code = os.waitstatus_to_exitcode(status)
    outcome = f"exit {code}" if code > 0 else signal.Signals(-code).name if code < 0 else answer.get("code", "decoded")
    found = {"outcome": outcome, "seconds": time.perf_counter() - start, "rss_bytes": 1024 * usage.ru_maxrss}
    if outcome == "decoded":
        size = 4 * answer["frames"] * answer["channels"]
        found["whole"] = target.stat().st_size == size
    return found


def _decode(upload: Path, target: Path, report: int) -> int:
    """What the child does; anything unforeseen is exit code 3."""
    signal.alarm(int(HANG_S))
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders chat there
        source, samples = os.open(upload, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        decode_confined(source, samples, report, (MAX_SECONDS, MAX_BYTES, MEMORY_BYTES, CPU_S, 0))
    except BaseException:
        return 3
    return 0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as place:
        upload, target = Path(place) / "upload", Path(place) / "decoded"
        while head := sys.stdin.buffer.read(8):
            upload.write_bytes(sys.stdin.buffer.read(struct.unpack("<Q", head)[0]))
            print(json.dumps(try_upload(upload, target)), flush=True)


if __name__ == "__main__":
    main()
