"""One file of a corpus -> mono int16 samples, and what is wrong with it, in words."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from unmingle.model.errors import FileError
from unmingle.model.reading.audio import read_audio

SHORTEST_S = 0.05
"""Shorter recordings hold no sound that anything can be learned from."""
SILENT_RMS = 1e-4
"""-80 dB of full scale."""
OFFSET = 0.01
"""From which mean on, of full scale 1, a recording is moved to zero."""
CANCELLED_DB = 20.0
"""If the mean of the channels is this much below the loudest of them, they cancel each other."""


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What became of a file.

    Attributes:
        samples: (samples,) int16 at the rate asked for; None if the file is not used.
        problem: empty, or what was wrong with it and what was done.
        unreadable: whether it is no audio file at all.
        digest: SHA-256 of the file's bytes.
        rms: of the samples, of full scale 1.
    """

    samples: NDArray[np.int16] | None
    problem: str = ""
    unreadable: bool = False
    digest: bytes = b""
    rms: float = 0.0


def decode(path: Path, sample_rate: int, track: int | None = None) -> Decoded:
    """Decode to mono at `sample_rate`. Never raises for what is in a file.

    Args:
        track: of a file that has several; None for the first.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        signal, rate, announced = _read(path, track)
    except (OSError, FileError) as error:
        return Decoded(None, f"cannot be read ({error}); expected an audio file", unreadable=True)
    problems = []
    if len(signal) < SHORTEST_S * rate:
        return Decoded(None, f"left out: it has {len(signal)} samples, which is too short", digest=digest)
    if not np.isfinite(signal).all():
        return Decoded(None, "left out: it has samples that are not numbers (NaN or infinite)", digest=digest)
    if len(signal) < 0.98 * announced:
        problems.append(
            f"it is cut: only {len(signal) / rate:.2f} of {announced / rate:.2f} s are there, and these are used"
        )
    mono = signal.mean(1)
    loudest = signal[:, int(np.square(signal).sum(0).argmax())]
    if _rms(mono - mono.mean()) < _rms(loudest - loudest.mean()) * 10.0 ** (-CANCELLED_DB / 20.0):
        mono = loudest
        problems.append("its channels cancel each other (opposite phase), so that only the loudest one is used")
    offset = float(mono.mean())
    if abs(offset) > OFFSET:
        mono = mono - np.float32(offset)
        problems.append(f"its samples are off zero by {offset:.2f}, which was taken away")
    if _rms(mono) < SILENT_RMS:
        constant = ", only a constant value" if abs(offset) > OFFSET else ""
        return Decoded(None, f"left out: it is silent{constant}", digest=digest)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    samples = np.clip(np.round(mono * 32768.0), -32768, 32767).astype(np.int16)
    return Decoded(samples, "; ".join(problems), digest=digest, rms=_rms(samples / np.float32(32768.0)))


def _read(path: Path, track: int | None) -> tuple[NDArray[np.float32], int, int]:
    """(samples, channels), the sample rate, and how many samples the file says that it has.

    What libsndfile does not read is read as by the server and the command.
    """
    if track is not None:
        signal, rate, _ = read_audio(path, track)
        return signal, rate, len(signal)
    try:
        with soundfile.SoundFile(path) as audio:
            announced, rate = _announced_frames(audio), audio.samplerate
            return audio.read(dtype="float32", always_2d=True), rate, announced
    except soundfile.LibsndfileError:
        signal, rate, _ = read_audio(path)
        return signal, rate, len(signal)


def _announced_frames(audio: soundfile.SoundFile) -> int:
    """Frames that the header speaks of; libsndfile quietly corrects that of a WAV file that was cut."""
    frames = int(audio.frames)
    for line in audio.extra_info.splitlines():
        name, _, sizes = line.partition(":")
        if name.strip() == "data" and "should be" in sizes:
            said, there = (int(word) for word in sizes.replace("(should be", " ").replace(")", " ").split()[:2])
            # A size of (nearly) 2 or 4 GiB is what programs write that did not know the length when they began.
            if there > 0 and said < 0x7FFF0000:
                return round(frames * said / there)
    return frames


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples), dtype=np.float64)))
