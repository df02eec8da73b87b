"""open_audio: the samples of a file in any format that we read, checked. Axes: (samples, channels)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from unmingle.model.errors import FileError
from unmingle.model.reading import ffmpeg
from unmingle.model.reading.ffmpeg import FfmpegStream
from unmingle.model.reading.header import AudioHeader, check_channels, check_rate
from unmingle.model.reading.identify import identify
from unmingle.model.reading.libsndfile import SndfileStream
from unmingle.model.reading.stream import Samples, Stream
from unmingle.model.recording import check_samples

_BREAKS_OFF_S = 0.05


class AudioStream:
    """The samples of a file, once, from beginning to end.

    Attributes:
        header: what the file claims to be.
        sample_rate: Hz.
        channels: how many.
        frames: samples per channel so far.
        warnings: what a listener should know, complete when the last block was given.
    """

    def __init__(self, header: AudioHeader, stream: Stream) -> None:
        self.header, self._stream = header, stream
        self.sample_rate, self.channels = stream.sample_rate, stream.channels
        check_rate(self.sample_rate)
        check_channels(self.channels)
        self.frames = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a listener should know of the file so far."""
        return (*self.header.warnings, *self._stream.warnings)

    def blocks(self) -> Iterator[Samples]:
        """(samples, channels) float32, finite; a block is valid until the next one is asked for.

        Raises:
            FileError: the file is damaged, has no samples, or some that cannot be used.
        """
        for block in self._stream.blocks():
            check_samples(block, 0, self.sample_rate, self.frames)
            self.frames += len(block)
            yield block
        if self.frames == 0:
            if self._stream.cut_short:
                raise self._stream.damaged("nothing of it can be decoded")
            raise FileError("audio_unusable", "The recording has no samples; expected at least one.")
        self._warn_if_cut()

    def _warn_if_cut(self) -> None:
        there, announced = self.frames / self.sample_rate, (self.header.frames or 0) / self.sample_rate
        if any(" breaks off" in warning for warning in self.warnings):
            return
        exact = self.header.format not in ("MP3", "AAC")
        if announced > there + (0 if exact else _BREAKS_OFF_S):
            self._stream.warnings.append(
                f"The file breaks off: it announces {announced:.2f} s, and {there:.2f} s are there."
            )
        elif self._stream.cut_short:
            self._stream.warnings.append(
                f"The file breaks off, or is damaged, after {there:.2f} s; what follows is left out."
            )


def open_audio(descriptor: int, track: int | None = None, header: AudioHeader | None = None) -> AudioStream:
    """Open a regular file by its descriptor, which stays the caller's.

    Args:
        descriptor: of a file that can be read at any position.
        track: which audio track of a file with several, from 1; None is the first.
        header: what `identify` found, where that is known already.

    Raises:
        FileError: the file is not audio, damaged, or outside of the limits.
    """
    size = os.fstat(descriptor).st_size
    if header is None:
        with open(descriptor, "rb", closefd=False) as file:
            header = identify(file)
    if track not in (None, 1) and header.reader == "libsndfile":
        raise FileError("format_unsupported", f"track={track}, and the file is {header.format}, which has one track.")
    if header.reader == "ffmpeg":
        return AudioStream(header, FfmpegStream(descriptor, size, header, track))
    try:
        return AudioStream(header, SndfileStream(descriptor, size, header))
    except FileError as refused:
        if refused.code not in ("audio_unreadable", "format_unsupported") or not header.demuxer:
            raise
        if not ffmpeg.available():
            raise
        try:
            return AudioStream(header, FfmpegStream(descriptor, size, header, track))
        except FileError as also:
            raise also from refused


def read_audio(path: str | os.PathLike[str], track: int | None = None) -> tuple[Samples, int, tuple[str, ...]]:
    """The whole of a file: (samples, channels) float32, its sample rate in Hz, and warnings.

    Raises:
        FileError: the file is missing, not audio, damaged, or outside of the limits.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            stream = open_audio(file.fileno(), track)
            # A decoder writes over the block that it gave before.
            blocks = [block.copy() for block in stream.blocks()]
            return np.concatenate(blocks), stream.sample_rate, stream.warnings
    except OSError as error:
        raise FileError("audio_unreadable", f"{path} cannot be read: {error.strerror}.") from error
