"""Decoding with FFmpeg, through PyAV. Axes: (samples, channels).

FFmpeg is told which container it is to expect and which codecs it may use. So it does not take a file for a playlist,
opens nothing but the file, and runs none of its video decoders.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import FileError
from unmingle.model.reading.header import CONVERT, AudioHeader, check_channels, check_rate
from unmingle.model.reading.stream import Samples, Stream
from unmingle.model.reading.view import FileView

_CODECS = (
    *("aac", "aac_latm", "alac", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "vorbis", "opus", "flac"),
    *("libopus", "libvorbis", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "ac3", "eac3", "speex"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "gsm", "gsm_ms", "wavpack", "ape", "tta", "truespeech"),
    *("g722", "g726", "g726le", "g729", "adpcm_ima_wav", "adpcm_ms", "adpcm_ima_qt", "adpcm_swf", "adpcm_yamaha"),
    *("adpcm_g722", "adpcm_g726", "adpcm_g726le", "nellymoser", "qdm2", "mace3", "mace6", "pcm_alaw", "pcm_mulaw"),
    *("pcm_u8", "pcm_s8", "pcm_s8_planar", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_bluray", "pcm_dvd"),
    *(f"pcm_{sign}{bits}{order}" for sign in "su" for bits in (16, 24, 32) for order in ("le", "be")),
)
_TELL_THEIR_LENGTH = ("mov", "matroska", "asf", "wv", "tta", "ape")
_LEAST_MISSING_S = 0.25
"""By how much a file may be shorter than it announces: containers round, and codecs pad."""


def available() -> bool:
    """Whether PyAV is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


class FfmpegStream(Stream):
    """What FFmpeg makes of one audio track of a file."""

    def __init__(self, descriptor: int, size: int, header: AudioHeader, track: int | None = None) -> None:
        """Open the file.

        Args:
            descriptor: of the file.
            size: its bytes.
            header: what the file claims to be.
            track: which audio track, from 1; None is the first.

        Raises:
            FileError: PyAV is not installed, the file is not readable, or has no such track.
        """
        try:
            import av
        except ImportError as error:
            raise FileError(
                "format_unsupported",
                f"The file is {header.format}{f' with {header.codec}' if header.codec else ''}, and reading that takes "
                f"PyAV, which is not installed here: pip install 'unmingle[formats]'. {CONVERT}.",
            ) from error
        av.logging.set_level(None)
        self._header, self._errors = header, (av.error.FFmpegError, ValueError, EOFError)
        begin, end = header.links[0] if header.links else (0, size)
        view = io.BufferedReader(FileView(descriptor, begin, end, header.patches), 2**16)
        allowed = ",".join(_CODECS)
        options = {"codec_whitelist": allowed, "format_whitelist": header.demuxer, "protocol_whitelist": "none"}
        try:
            self._container: Any = av.open(view, "r", format=header.demuxer, container_options=options)
        except self._errors as error:
            raise self._unreadable(error) from error
        tracks = self._container.streams.audio
        if not tracks:
            raise FileError("format_unsupported", f"The file is {header.format} and has no audio track; expected one.")
        if track is not None and not 1 <= track <= len(tracks):
            raise FileError("format_unsupported", f"track={track}, and the file has {len(tracks)} audio tracks.")
        self._track: Any = tracks[(track or 1) - 1]
        codec = self._track.codec_context
        if codec is None or codec.name not in _CODECS:
            name = codec.name if codec is not None else "an unknown codec, or is protected against copying"
            raise FileError("format_unsupported", f"The file is {header.format} with {name} in it. {CONVERT}.")
        codec.thread_count = 1
        self._failure, self._bad_packets, self._gave_up = "", 0, False
        self._converters: dict[tuple[str, str, int], Any] = {}  # one takes frames of one form only
        self._frames = self._decoded()
        self._head: Any = next(self._frames, None)  # what the container says of rate and channels is not always true
        if self._head is None:
            if self._failure:
                why = f"The file is {header.format} and cannot be decoded: {self._failure}. {CONVERT}."
                raise FileError("audio_unreadable", why)
            raise FileError("audio_unusable", "The recording has no samples; expected at least one.")
        check_rate(self._head.sample_rate)
        check_channels(self._head.layout.nb_channels)
        super().__init__(self._head.sample_rate, self._head.layout.nb_channels)
        if len(tracks) > 1 and track is None:
            self.warnings.append(f"The file has {len(tracks)} audio tracks; the first one was taken (see track).")

    def blocks(self) -> Iterator[Samples]:
        """The samples, once."""
        frame = self._head
        while frame is not None:
            for piece in self._like_first(frame):
                samples = _floats(piece, self.channels)
                if len(samples):
                    self.frames += len(samples)
                    yield samples
            frame = next(self._frames, None)
        self._check_length()

    def _like_first(self, frame: Any) -> Sequence[Any]:
        """A frame with the rate, channels and sample format of the first one; nothing where it cannot be had so."""
        import av

        form = _form(frame)
        if form == _form(self._head):
            return (frame,)
        if form not in self._converters:
            first = self._head
            self._converters[form] = av.AudioResampler(first.format.packed.name, first.layout, self.sample_rate)
        try:
            return list(self._converters[form].resample(frame))
        except self._errors:
            self._bad_packets += 1
            return ()

    def _decoded(self) -> Iterator[Any]:
        """Frames of the track, until its end or until FFmpeg gives up."""
        packets = self._container.demux(self._track)
        good = 0
        while True:
            try:
                packet = next(packets, None)
            except self._errors as error:
                self._failure, self._gave_up = str(error), True
                return
            if packet is None:
                break
            try:
                for frame in packet.decode():
                    good += 1
                    if frame.samples:
                        yield frame
            except self._errors as error:
                self._failure = str(error)
                self._bad_packets += 1
                if self._bad_packets > 100 + good:
                    self._gave_up = True
                    return

    def _check_length(self) -> None:
        announced = self._announced_s()
        there = self.frames / self.sample_rate
        self.cut_short = self._gave_up
        if bad := self._bad_packets:
            self.warnings.append(f"The file is damaged: {bad} pieces of it could not be decoded and are left out.")
        if announced - there > max(_LEAST_MISSING_S, 0.01 * announced):
            self.warnings.append(f"The file breaks off: it announces {announced:.2f} s, and {there:.2f} s are there.")

    def _announced_s(self) -> float:
        if self._header.frames is not None:
            return self._header.frames / self.sample_rate
        if self._header.demuxer not in _TELL_THEIR_LENGTH:
            return 0.0  # FFmpeg guesses it from the file's size
        if self._track.duration and self._track.time_base:
            return float(self._track.duration * self._track.time_base)
        # Of the whole container, in microseconds: pictures may go on for longer than the sound.
        alone = len(self._container.streams) == 1
        return self._container.duration / 1e6 if alone and self._container.duration else 0.0

    def _unreadable(self, error: Exception) -> FileError:
        why = str(error)
        if self._header.demuxer == "mov":
            why = (
                "it has no index (moov), which is written last: the recording or its copy broke off"
                if "Invalid data" in why
                else why
            )
        return FileError(
            "audio_unreadable", f"The file looks like {self._header.format} and cannot be opened: {why}. {CONVERT}."
        )


def _form(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _floats(frame: Any, channels: int) -> Samples:
    """(samples, channels) of a frame of any sample format, full scale 1."""
    array: NDArray[Any] = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, np.float32)
    if array.dtype == np.uint8:
        return np.asarray((array.astype(np.float32) - 128) / 128, np.float32)
    return np.asarray(array / -float(np.iinfo(array.dtype).min), np.float32)
