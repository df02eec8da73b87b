"""Uploads -> samples, each in a child process of its own that has limits on memory and time and can be killed."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

from unmingle.service.decoding import audio_header, confinement
from unmingle.service.decoding.limits import DecodeLimits
from unmingle.service.decoding.processes import DecodeProcesses, ForkServerLostError
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.problems import Problem

__all__ = ["DecodeLimits", "Decoder", "too_long"]

log = logging.getLogger(__name__)

# The fork server may have been killed while idle, and its successor because of another upload.
_ATTEMPTS = 3


class Decoder:
    """Decodes a bounded number of uploads at a time. Belongs to one event loop."""

    def __init__(self, at_a_time: int, processes: DecodeProcesses | None = None) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._processes = processes or DecodeProcesses()

    def beside(self, at_a_time: int) -> Decoder:
        """Another decoder with the same fork server; uploads of one never wait for those of the other."""
        return Decoder(at_a_time, self._processes)

    def start(self) -> None:
        """Start a fork server now and keep it, so that the first upload need not wait for one."""
        layers = confinement.in_force()
        if layers:
            log.info("decoders are confined by %s", " and ".join(layers))
        if len(layers) < len(confinement.LAYERS):
            missing = " and no ".join(layer for layer in confinement.LAYERS if layer not in layers)
            log.warning("this system offers no %s for the confinement of decoders; see docs/operations.md", missing)
        self._processes.keep_one()

    async def stop(self) -> None:
        """End the fork server."""
        await self._processes.stop()

    async def decode(
        self, upload: Path, samples: Path, limits: DecodeLimits, *, mono: bool = False
    ) -> DecodedRecording:
        """Decode `upload` into the new file `samples` (interleaved float32), which the recording then reads.

        Cancelling this kills the child.

        Raises:
            Problem: the file is not one we read, is damaged, or larger than a limit.
        """
        header = await asyncio.to_thread(audio_header.inspect, upload)
        if header.format in ("WAV", "Wave64") and header.frames and header.sample_rate and header.channels:
            announced = header.frames / header.sample_rate
            if announced > 2 * limits.max_seconds and header.frames * header.channels <= upload.stat().st_size:
                raise too_long(limits, f"lasts {announced:.0f} s")
        async with self._free:
            start = time.perf_counter()
            report = await self._run_child(upload, samples, limits)
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
        warnings = tuple(str(warning) for warning in report["warnings"])
        decode_s = time.perf_counter() - start
        return DecodedRecording(samples, rate, channels, frames, decode_s=decode_s, warnings=warnings, mono=mono)

    async def _run_child(self, upload: Path, samples: Path, limits: DecodeLimits) -> dict[str, Any]:
        for _ in range(_ATTEMPTS):
            try:
                async with (
                    self._processes.decoding(upload, samples, limits) as process,
                    asyncio.timeout(limits.timeout_s),
                ):
                    report, status = await process.report()
                break
            except ForkServerLostError:
                continue
            except TimeoutError as error:
                raise _too_costly(limits) from error
        else:
            raise Problem("audio_unreadable", "The decoder fails on this file repeatedly.")
        if status < 0:
            if -status in (9, 24):  # killed by the kernel for memory, or over its CPU limit
                raise _too_costly(limits)
            raise Problem("audio_unreadable", "The file makes the decoder crash; it is damaged.")
        try:
            answer: dict[str, Any] = json.loads(report)
        except ValueError as error:
            raise Problem("audio_unreadable", "The file makes the decoder fail; it is damaged.") from error
        return answer


def too_long(limits: DecodeLimits, what: str) -> Problem:
    """The problem of a recording over the time limit."""
    return Problem(
        "recording_too_long",
        f"The recording {what}; expected at most {limits.max_seconds:g} s. {limits.advice}",
        extra={"limit": limits.max_seconds, "unit": "s"},
    )


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
            return Problem(code, report["detail"], extra=report.get("facts"))
