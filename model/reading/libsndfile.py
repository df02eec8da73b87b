"""Decoding with libsndfile. Axes: (samples, channels)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import soundfile

from unmingle.model.errors import FileError
from unmingle.model.reading.header import AudioHeader
from unmingle.model.reading.stream import BLOCK_SAMPLES, Samples, Stream
from unmingle.model.reading.view import FileView

_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "MPEG", "AIFF", "CAF", "AU", "NIST")
_SUBTYPES = (
    *("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    *("IMA_ADPCM", "MS_ADPCM", "GSM610", "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"),
    *("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"),
)
_FLAC_BLOCK_SAMPLES = 2**16
_VORBIS_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
"""By the number of channels: where those of WAVE (left, right, centre ...) are in the order of Vorbis and Opus."""


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its beginning to its end.

    soundfile seeks after each read, which fails where the length is not known.
    """

    def seekable(self) -> bool:
        return False


class SndfileStream(Stream):
    """What libsndfile makes of a file."""

    def __init__(self, descriptor: int, size: int, header: AudioHeader) -> None:
        """Open the file.

        Raises:
            FileError: it is not readable, or not what it claims to be.
        """
        self._descriptor, self._header = descriptor, header
        self._links = header.links or ((0, size),)
        file = self._open(*self._links[0])
        self._first: soundfile.SoundFile | None = file
        super().__init__(int(file.samplerate), int(file.channels))
        vorbis = file.subtype in ("VORBIS", "OPUS")
        self._order = list(_VORBIS_ORDER[self.channels]) if vorbis and self.channels in _VORBIS_ORDER else None

    def blocks(self) -> Iterator[Samples]:
        """The samples, once, of all links."""
        for number, link in enumerate(self._links, 1):
            file, self._first = self._first, None
            if file is None:
                try:
                    file = self._open(*link)
                except FileError as error:
                    self.warnings.append(f"Part {number} of {len(self._links)} of the file is left out. {error}")
                    continue
            if (file.samplerate, file.channels) != (self.sample_rate, self.channels):
                self.warnings.append(
                    f"Part {number} of {len(self._links)} of the file is left out: it has {file.channels} channels at "
                    f"{file.samplerate} Hz, the first one {self.channels} at {self.sample_rate} Hz."
                )
                continue
            yield from self._link(file)

    def _link(self, file: soundfile.SoundFile) -> Iterator[Samples]:
        with file:
            largest = _FLAC_BLOCK_SAMPLES if file.format == "FLAC" else BLOCK_SAMPLES
            block = np.empty((max(1, largest // self.channels), self.channels), np.float32)
            while True:
                if file.format == "FLAC":
                    block.fill(np.nan)  # so that what was read before an error can be told from what was not
                try:
                    count = file.buffer_read_into(block, "float32")
                except soundfile.LibsndfileError as error:
                    if file.format != "FLAC":
                        raise self.damaged(str(error.error_string)) from error
                    count = int(np.argmax(np.isnan(block[:, -1]))) if np.isnan(block[:, -1]).any() else len(block)
                    self.cut_short = True
                if count:
                    self.frames += count
                    yield block[:count] if self._order is None else block[:count, self._order]
                if not count or self.cut_short:
                    return

    def _open(self, begin: int, end: int) -> soundfile.SoundFile:
        view = FileView(self._descriptor, begin, end, self._header.patches)
        try:
            file = _Sequential(io.BufferedReader(view, 2**16))
        except soundfile.LibsndfileError as error:
            raise FileError("audio_unreadable", f"The file cannot be decoded: {error.error_string}") from error
        if file.format not in _FORMATS or file.subtype not in _SUBTYPES:
            raise FileError("format_unsupported", f"The file holds {file.format} with {file.subtype} samples.")
        return file
