"""What decodes one upload, in a process of its own: nothing that a file does to it can reach the server.

The fork server (fork_server.py) has this process do `decode_confined`, and nothing else. It imports nothing of this
project.
"""

from __future__ import annotations

import json
import os
import resource

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would count against the memory limit

import numpy as np
import soundfile

FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "MPEG")
SUBTYPES = ["PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"]
BLOCK_SAMPLES = 2**18

_NICE = 5


class RefusedError(Exception):
    """The file is not taken: a problem code and the sentence for the client."""


def confine(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Take away from this process what decoding does not need.

    It stands back as the threads do that separate: what is decoded first is to be answered first.
    """
    os.nice(_NICE)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        ceiling = resource.getrlimit(limit)[1]
        if ceiling != resource.RLIM_INFINITY:
            value = min(value, ceiling)  # noqa: PLW2901
        resource.setrlimit(limit, (value, value))


def decode(source: int, target: int, max_seconds: float, max_bytes: int) -> dict[str, object]:
    """Decode file descriptor `source` to interleaved float32 on `target`, counting what really comes."""
    try:
        file = soundfile.SoundFile(source, closefd=False)
    except soundfile.LibsndfileError as error:
        raise RefusedError("audio_unreadable", f"The file cannot be decoded: {error.error_string}") from error
    if file.format not in FORMATS or file.subtype not in SUBTYPES:
        raise RefusedError("format_unsupported", f"The file holds {file.format} with {file.subtype} samples.")
    rate, channels = file.samplerate, file.channels
    block = np.empty((max(1, BLOCK_SAMPLES // channels), channels), np.float32)
    frames = 0
    while True:
        try:
            count = file.buffer_read_into(block, "float32")
        except soundfile.LibsndfileError as error:
            raise RefusedError(
                "audio_unreadable", f"The file is damaged after {frames / rate:.2f} s: {error.error_string}"
            ) from error
        if count == 0:
            break
        if not np.isfinite(block[:count]).all():
            at = frames + int(np.argmin(np.isfinite(block[:count]).all(1)))
            raise RefusedError(
                "audio_unusable",
                f"The recording has samples that are not finite (NaN or infinity), first at {at / rate:.4f} s; "
                "expected numbers only.",
            )
        frames += count
        if frames > max_seconds * rate:
            raise RefusedError("recording_too_long", f"The recording is longer than {max_seconds:g} s.")
        if frames * channels * 4 > max_bytes:
            raise RefusedError("recording_too_large", f"The recording, once decoded, is larger than {max_bytes} bytes.")
        remaining = block[:count].data.cast("B")
        while remaining:
            remaining = remaining[os.write(target, remaining) :]
    if frames == 0:
        raise RefusedError("audio_unusable", "The recording has no samples; expected at least one.")
    return {"sample_rate": rate, "channels": channels, "frames": frames}


def decode_confined(source: int, target: int, report: int, terms: tuple[float, float, float, float]) -> None:
    """Confine this process, decode from descriptor `source` to `target`, and write one JSON object to `report`.

    It has the recording's rate, channels and frames, or the code of a problem.

    Args:
        terms: longest recording in seconds, most bytes of samples, most bytes of memory, most seconds of CPU time.
    """
    max_seconds, max_bytes, memory_bytes, cpu_s = terms
    confine(int(memory_bytes), int(cpu_s), int(max_bytes) + BLOCK_SAMPLES * 4)
    answer: dict[str, object]
    try:
        answer = decode(source, target, max_seconds, int(max_bytes))
    except RefusedError as refused:
        answer = {"code": refused.args[0], "detail": refused.args[1]}
    except MemoryError:
        answer = {"code": "decoding_too_costly", "detail": "Decoding the file takes more memory than it may."}
    except OSError as error:
        answer = {"errno": error.errno}
    os.write(report, json.dumps(answer).encode())
