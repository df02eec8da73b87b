"""What the first bytes of a file say of it, before any decoder sees it.

What a header says is a claim; whoever decodes counts what is really there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from unmingle.model.errors import FileError
from unmingle.model.recording import MAX_CHANNELS

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000

EXPECTED = (
    "expected WAV, FLAC, Ogg, MP3, AIFF, CAF, M4A/AAC, AMR, WMA, or a video with sound such as MP4, MOV, WebM or MKV"
)
CONVERT = "Convert it with `ffmpeg -i FILE recording.flac`, or export it as WAV"

AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".caf"),
        *(".au", ".snd", ".sph", ".m4a", ".m4b", ".mp4", ".aac", ".mov", ".webm", ".mkv", ".mka", ".amr", ".3gp"),
        *(".wma", ".wv", ".avi", ".ts", ".ac3", ".flv"),
    )
)
"""Endings of names of files that may be read; what counts is in the file."""

Reader = Literal["libsndfile", "ffmpeg"]


@dataclasses.dataclass(frozen=True)
class AudioHeader:
    """What a file claims to be.

    Attributes:
        format: the container, in words.
        codec: how the samples are coded, in words; "" where only decoding tells.
        sample_rate, channels: None where only decoding tells.
        frames: samples per channel that the header announces; None where it does not say.
        reader: the library that decodes it first.
        demuxer: FFmpeg's name for the container.
        links: (begin, end) of the recordings that lie end to end in the file; None is the whole file.
        patches: bytes of the header that a decoder should see instead, by their position.
        warnings: what a listener should know.
    """

    format: str
    codec: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    frames: int | None = None
    reader: Reader = "libsndfile"
    demuxer: str = ""
    links: tuple[tuple[int, int], ...] | None = None
    patches: Mapping[int, bytes] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def unsupported(what: str) -> FileError:
    """The error of a file that is not audio, or of a format that nobody here reads."""
    return FileError("format_unsupported", f"{what}; {EXPECTED}. {CONVERT}.")


def broken(what: str) -> FileError:
    """The error of a file that contradicts itself."""
    return FileError("audio_unreadable", f"The file is damaged: {what}. Send the whole file as it was recorded.")


def check_channels(channels: int) -> None:
    """Raises: FileError: too many channels, or none."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise FileError(
            "too_many_channels",
            f"The recording has {channels} channels; expected 1 to {MAX_CHANNELS}.",
            {"limit": MAX_CHANNELS, "given": channels},
        )


def check_rate(sample_rate: int) -> None:
    """Raises: FileError: the sample rate is outside of what we take."""
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise FileError(
            "sample_rate_unsupported",
            f"The sample rate is {sample_rate} Hz; expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz.",
            {"minimum": MIN_SAMPLE_RATE, "maximum": MAX_SAMPLE_RATE, "given": sample_rate},
        )
