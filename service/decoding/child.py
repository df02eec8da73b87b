"""What decodes one upload, in a confined process of its own.

The fork server (fork_server.py) has this process do `decode_confined`, and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import struct
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would count against the memory limit

with contextlib.suppress(ImportError):
    import av

    # PyAV imports parts of itself when a file needs them. A confined process cannot: it opens no file any more.
    for _part in pkgutil.walk_packages(av.__path__, "av."):
        if _part.name != "av.__main__":
            importlib.import_module(_part.name)

from unmingle.model.errors import FileError
from unmingle.model.reading.audio import open_audio
from unmingle.model.reading.stream import BLOCK_SAMPLES
from unmingle.service.decoding import confinement

confinement.prepare()

_SHORT_WAV = (
    b"RIFF" + struct.pack("<I", 36 + 2000) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
)
_SHORT_WAV += b"data" + struct.pack("<I", 2000) + bytes(2000)
_NICE = 5
_MOST_WARNINGS = 8


def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Limit what this process may use.

    It runs at the priority of the threads that separate: what is decoded first is to be answered first.
    """
    os.nice(_NICE)
    for resource_limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        ceiling = resource.getrlimit(resource_limit)[1]
        if ceiling != resource.RLIM_INFINITY:
            value = min(value, ceiling)  # noqa: PLW2901
        resource.setrlimit(resource_limit, (value, value))


def decode(source: int, target: int, max_seconds: float, max_bytes: int, track: int | None = None) -> dict[str, object]:
    """Decode file descriptor `source` to interleaved float32 on `target`; limits apply to what is really decoded.

    Raises:
        FileError: the file cannot be used, or is larger than a limit.
    """
    stream = open_audio(source, track)
    rate, channels, frames = stream.sample_rate, stream.channels, 0
    for block in stream.blocks():
        frames += len(block)
        if frames > max_seconds * rate:
            raise FileError("recording_too_long", f"The recording is longer than {max_seconds:g} s.")
        if frames * channels * 4 > max_bytes:
            raise FileError("recording_too_large", f"The recording, once decoded, is larger than {max_bytes} bytes.")
        remaining = (block if block.flags.c_contiguous else block.copy()).data.cast("B")
        while remaining:
            remaining = remaining[os.write(target, remaining) :]
    warnings = stream.warnings[:_MOST_WARNINGS]
    return {"sample_rate": rate, "channels": channels, "frames": frames, "warnings": warnings}


def rehearse() -> None:
    """Decode a short file of no content: its way through the libraries makes the memory that decoding needs our own."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # a sandbox may have no such files; the first upload then takes a little longer
        source, target = os.memfd_create("recording"), os.memfd_create("samples")
        os.write(source, _SHORT_WAV)
        decode(source, target, max_seconds=1.0, max_bytes=2**20)
        os.close(source)
        os.close(target)


def decode_confined(source: int, target: int, report: int, terms: tuple[float, float, float, float, float]) -> None:
    """Confine this process, decode from descriptor `source` to `target`, and write one JSON object to `report`.

    It has the recording's rate, channels, frames and warnings, or the code of a problem.

    Args:
        source: the upload.
        target: an empty file.
        report: a socket or a pipe.
        terms: the limits, as in limits.py: seconds and bytes of samples, bytes of memory, seconds of CPU time; and the
            track, 0 for the first.
    """
    max_seconds, max_bytes, memory_bytes, cpu_s, track = terms
    answer: dict[str, object]
    try:
        limit(int(memory_bytes), int(cpu_s), int(max_bytes) + BLOCK_SAMPLES * 4)
        confinement.confine()
        answer = decode(source, target, max_seconds, int(max_bytes), int(track) or None)
    except FileError as refused:
        answer = {"code": refused.code, "detail": str(refused)[:1000], "facts": refused.facts}
    except MemoryError:
        answer = {"code": "decoding_too_costly", "detail": "Decoding the file takes more memory than it may."}
    except OSError as error:
        answer = {"errno": error.errno}
    os.write(report, json.dumps(answer).encode())
