"""Which format a file has, by its first bytes; its name counts for nothing."""

from __future__ import annotations

from typing import BinaryIO

from unmingle.model.errors import FileError
from unmingle.model.reading import mp3, ogg, wav
from unmingle.model.reading.header import EXPECTED, AudioHeader, check_channels, check_rate, unsupported

_BY_LIBSNDFILE = {b"caff": ("CAF", "caf"), b".snd": ("AU", "au"), b"NIST": ("SPHERE", "nistsphere")}
"""By the first four bytes: the format, and FFmpeg's name for it."""

_BY_FFMPEG = (
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM", "matroska"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA or WMV", "asf"),
    (0, b"FLV\x01", "FLV", "flv"),
    (0, b"wvpk", "WavPack", "wv"),
    (0, b"MAC ", "Monkey's Audio", "ape"),
    (0, b"TTA1", "TTA", "tta"),
    (0, b"\x0b\x77", "AC-3", "ac3"),
    (0, b"\0\0\x01\xba", "MPEG video", "mpeg"),
    (4, b"ftyp", "MP4, M4A, MOV or 3GP", "mov"),
    (4, b"moov", "QuickTime", "mov"),
    (4, b"mdat", "QuickTime", "mov"),
    (4, b"wide", "QuickTime", "mov"),
)
"""Position, magic bytes, the format, and FFmpeg's name for it."""

_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive: unpack it and send the recordings in it"),
    (b"Rar!", "a RAR archive: unpack it and send the recordings in it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it and send the recordings in it"),
    (b"\x1f\x8b", "a gzip archive: unpack it and send the recordings in it"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"MThd", "MIDI, which has notes and no sound"),
    (b"DSD ", "DSD (DSF)"),
    (b"FRM8", "DSD (DSDIFF)"),
    (b".RMF", "RealMedia"),
    (b".ra\xfd", "RealAudio"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"<", "HTML or XML, perhaps an error page that was saved instead of the recording"),
    (b"#EXTM3U", "a playlist, which names recordings and has none in it"),
    (b"[playlist]", "a playlist, which names recordings and has none in it"),
    (b"{", "JSON"),
)


def identify(file: BinaryIO) -> AudioHeader:
    """Read and check the header of a file.

    Raises:
        FileError: empty, not audio, damaged, or with a sample rate or channels outside the limits.
    """
    file.seek(0)
    start = file.read(189)
    if not start:
        raise FileError("file_empty", f"The file has 0 bytes; {EXPECTED}.")
    header = _header(file, start)
    if header.channels is not None:
        check_channels(header.channels)
    if header.sample_rate is not None:
        check_rate(header.sample_rate)
    return header


def _header(file: BinaryIO, start: bytes) -> AudioHeader:
    header = _parsed(file, start) or _known(start)
    if header:
        return header
    for pattern, name in _OTHERS:
        if start.startswith(pattern):
            raise unsupported(f"The file looks like {name}")
    header = mp3.parse(file)
    if header is None:
        raise unsupported("The file is not audio, or of an unknown format")
    return header


def _parsed(file: BinaryIO, start: bytes) -> AudioHeader | None:
    """The header of a format of which we read more than the magic bytes."""
    if start[:4] in (b"RIFF", b"RF64", b"RIFX") and start[8:12] == b"WAVE":
        return wav.parse(file)
    if start[:12] == wav.W64_START[:12]:
        return wav.parse_w64(file)
    if start[:4] == b"fLaC":
        return ogg.parse_flac(file)
    return ogg.parse_ogg(file) if start[:4] == b"OggS" else None


def _known(start: bytes) -> AudioHeader | None:
    """The header of a format of which its library tells more."""
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        return AudioHeader("AIFF", demuxer="aiff")
    if start[:4] == b"RIFF" and start[8:11] == b"AVI":
        return AudioHeader("AVI", reader="ffmpeg", demuxer="avi")
    if start[:4] in _BY_LIBSNDFILE:
        format, demuxer = _BY_LIBSNDFILE[start[:4]]
        return AudioHeader(format, demuxer=demuxer)
    for place, pattern, format, demuxer in _BY_FFMPEG:
        if start[place : place + len(pattern)] == pattern:
            return AudioHeader(format, reader="ffmpeg", demuxer=demuxer)
    if start[:1] == b"\x47" and start[188:189] == b"\x47":
        return AudioHeader("MPEG-TS video", reader="ffmpeg", demuxer="mpegts")
    return None
