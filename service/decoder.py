"""Uploads -> samples, each in a child process of its own that has limits on memory and time and can be killed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from service import audio_header
from service.audio_io import DecodedRecording
from service.problems import Problem
from service.settings import loader_environment

CHILD = Path(__file__).with_name("decode_child.py")

_MAX_REPORT_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost once it is decoded."""

    max_seconds: float
    max_bytes: int
    memory_bytes: int
    timeout_s: float
    advice: str = "Cut it into parts."
    """For whoever sends a recording that is too long."""


class Decoder:
    """Decodes a bounded number of uploads at a time. Belongs to one event loop."""

    def __init__(self, processes: int) -> None:
        self._free = asyncio.Semaphore(processes)

    async def decode(
        self, upload: Path, samples: Path, limits: DecodeLimits, *, mono: bool = False
    ) -> DecodedRecording:
        """Decode `upload` into the new file `samples` (interleaved float32), which the recording then reads.

        Cancelling this kills the child.

        Raises:
            Problem: the file is not one we read, is damaged, or larger than a limit.
        """
        header = await asyncio.to_thread(audio_header.inspect, upload)
        if header.frames is not None and header.frames > 2 * limits.max_seconds * header.sample_rate:
            announced = header.frames / header.sample_rate
            actual = upload.stat().st_size
            if header.format == "WAV" and header.frames * header.channels <= actual:
                raise too_long(limits, f"lasts {announced:.0f} s")
        async with self._free:
            start = time.perf_counter()
            report = await _run_child(upload, samples, limits)
        if "code" in report:
            raise _refused(report, limits)
        if "errno" in report:
            raise OSError(report["errno"], "decoding")
        rate, channels, frames = int(report["sample_rate"]), int(report["channels"]), int(report["frames"])
        if not (
            audio_header.MIN_SAMPLE_RATE <= rate <= audio_header.MAX_SAMPLE_RATE
            and 1 <= channels <= audio_header.MAX_CHANNELS
        ):
            raise Problem(
                "audio_unreadable", f"The file decodes to {channels} channels at {rate} Hz, not as announced."
            )
        if samples.stat().st_size != 4 * frames * channels:
            raise Problem("audio_unreadable", "The file makes the decoder fail; it is damaged.")
        warnings = []
        if header.frames is not None and header.frames > frames:
            warnings.append(
                f"The file breaks off: it announces {header.frames / rate:.2f} s, and {frames / rate:.2f} s are there."
            )
        decode_s = time.perf_counter() - start
        return DecodedRecording(samples, rate, channels, frames, decode_s=decode_s, warnings=tuple(warnings), mono=mono)


def too_long(limits: DecodeLimits, what: str) -> Problem:
    """The problem of a recording over the time limit."""
    return Problem(
        "recording_too_long",
        f"The recording {what}; expected at most {limits.max_seconds:g} s. {limits.advice}",
        extra={"limit": limits.max_seconds, "unit": "s"},
    )


async def _run_child(upload: Path, samples: Path, limits: DecodeLimits) -> dict[str, Any]:
    arguments = (limits.max_seconds, limits.max_bytes, limits.memory_bytes, math.ceil(limits.timeout_s))
    with upload.open("rb") as source, samples.open("wb") as target:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(CHILD),
            *(str(argument) for argument in arguments),
            stdin=source,
            stdout=target,
            stderr=asyncio.subprocess.PIPE,
            env=loader_environment(),
        )
    report = b""
    try:
        async with asyncio.timeout(limits.timeout_s):
            assert process.stderr
            while len(report) < _MAX_REPORT_BYTES and (more := await process.stderr.read(_MAX_REPORT_BYTES)):
                report += more
            if len(report) >= _MAX_REPORT_BYTES:
                process.kill()
            await process.wait()
    except TimeoutError as error:
        raise _too_costly(limits) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode and process.returncode < 0:
        if -process.returncode in (9, 24):  # killed by the kernel for memory, or over its CPU limit
            raise _too_costly(limits)
        raise Problem("audio_unreadable", "The file makes the decoder crash; it is damaged.")
    try:
        answer: dict[str, Any] = json.loads(report)
    except ValueError as error:
        raise Problem("audio_unreadable", "The file makes the decoder fail; it is damaged.") from error
    return answer


def _too_costly(limits: DecodeLimits) -> Problem:
    return Problem(
        "decoding_too_costly",
        f"Decoding the file takes more than {limits.timeout_s:g} s or {limits.memory_bytes // 2**20} MiB.",
        extra={"limit": limits.timeout_s, "unit": "s"},
    )


def _refused(report: dict[str, Any], limits: DecodeLimits) -> Problem:
    match report["code"]:
        case "recording_too_long":
            return too_long(limits, f"is longer than {limits.max_seconds:g} s")
        case "recording_too_large":
            return Problem(
                "recording_too_large",
                f"{report['detail']} Send fewer channels, a lower sample rate, or cut it into parts.",
                extra={"limit": limits.max_bytes, "unit": "bytes"},
            )
        case code:
            return Problem(code, report["detail"])
