"""Uploads that went wrong on the way, by chance or by design, and a process to try them on."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from typing import Any

from tests.service.harness import ROOT
from tests.service.hostile import SEEDS

REFUSALS = {
    "file_empty",
    "format_unsupported",
    "audio_unreadable",
    "audio_unusable",
    "too_many_channels",
    "sample_rate_unsupported",
    "recording_too_long",
    "recording_too_large",
    "decoding_too_costly",
}
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_GOOD = list(SEEDS.values())


def mutated(generator: random.Random) -> bytes:
    """A good file with a few things changed: bytes, numbers, pieces cut out, doubled, moved, or of another file."""
    content = bytearray(generator.choice(_GOOD))
    for _ in range(generator.choice((1, 1, 2, 3, 5, 20))):
        if not content:
            break
        # Most of what a decoder believes stands at the start.
        at = generator.randrange(min(len(content), generator.choice((64, 256, 4096, len(content)))))
        match generator.randrange(8):
            case 0:
                content[at] = generator.randrange(256)
            case 1:
                content[at] ^= 1 << generator.randrange(8)
            case 2 | 3:
                width = generator.choice((1, 2, 4, 8))
                number = generator.choice(_EDGES) & (2 ** (8 * width) - 1)
                content[at : at + width] = number.to_bytes(width, generator.choice(("little", "big")))
            case 4:
                del content[at : at + generator.choice((1, 4, 100, 5000))]
            case 5:
                content[at:at] = content[at : at + generator.choice((1, 8, 200, 3000))]
            case 6:
                other = generator.choice(_GOOD)
                begin = generator.randrange(len(other))
                content[at : at + 400] = other[begin : begin + generator.choice((8, 60, 400))]
            case 7:
                if generator.random() < 0.3:
                    del content[at + generator.randrange(1000) :]
    return bytes(content)


class DecoderProcess:
    """tests/service/fuzz_worker.py at work."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "service" / "fuzz_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def try_upload(self, content: bytes) -> dict[str, Any]:
        """What became of an upload."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(struct.pack("<Q", len(content)) + content)
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


def fault_of(found: dict[str, Any]) -> str | None:
    """What is wrong with an outcome of the worker; None where nothing is."""
    if found["outcome"] == "decoded":
        return None if found["whole"] else "decoded, but not all is on disk"
    return None if found["outcome"] in REFUSALS else found["outcome"]
