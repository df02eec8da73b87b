"""Headers of Ogg and FLAC, and the links of a chained Ogg: recordings that were put end to end."""

from __future__ import annotations

import os
from typing import BinaryIO

from unmingle.model.reading.header import AudioHeader, broken

_FIRST, _LAST = 0x02, 0x04  # of the flags of a page
_MAX_LINKS = 1024
_SEARCH_BYTES = 2**16
_STREAM_INFO = 8  # where it begins in a FLAC file


def parse_flac(file: BinaryIO, begin: int = 0) -> AudioHeader:
    """A FLAC file that begins at `begin`, behind an ID3 tag perhaps."""
    size = file.seek(0, os.SEEK_END)
    file.seek(begin)
    block = file.read(42)
    if len(block) < 42 or block[4] & 0x7F != 0 or int.from_bytes(block[5:8], "big") != 34:
        raise broken("a FLAC file without its STREAMINFO")
    rate, channels, frames = _stream_info(block[_STREAM_INFO:])
    # A decoder that is told the wrong total stops there, or fails; without one, it goes on to the end.
    place = begin + _STREAM_INFO + 13
    patches = {place: bytes([block[_STREAM_INFO + 13] & 0xF0, 0, 0, 0, 0])}
    return AudioHeader("FLAC", "FLAC", rate, channels, frames, demuxer="flac", links=((begin, size),), patches=patches)


def _stream_info(info: bytes) -> tuple[int, int, int | None]:
    """Sample rate, channels, and samples per channel where they are given."""
    packed = int.from_bytes(info[10:18], "big")
    return packed >> 44, (packed >> 41 & 0x7) + 1, packed & (2**36 - 1) or None


def parse_ogg(file: BinaryIO) -> AudioHeader:
    """An Ogg file with Vorbis, Opus or FLAC in its first stream; what else it has is left to FFmpeg."""
    file.seek(0)
    page = file.read(27)
    if len(page) < 27:
        raise broken("the first Ogg page is cut short")
    lacing = file.read(page[26])
    packet = file.read(sum(lacing))
    codec, rate, channels, frames = _stream(packet)
    if codec not in ("Vorbis", "Opus"):
        # libsndfile reads FLAC in Ogg, but no file of which it does not know the length.
        return AudioHeader("Ogg", codec, rate, channels, frames, "ffmpeg", "ogg")
    starts, ends_well, streams = _links(file)
    if streams > len(starts):
        return AudioHeader("Ogg", codec, reader="ffmpeg", demuxer="ogg")  # a video, say
    size = file.seek(0, os.SEEK_END)
    starts = starts or [0]  # a first page that does not say it is one
    links = tuple(zip(starts, [*starts[1:], size], strict=True))
    warnings = () if ends_well else ("The file has no end mark: the recording probably breaks off.",)
    return AudioHeader("Ogg", codec, rate, channels, demuxer="ogg", links=links, warnings=warnings)


def _stream(packet: bytes) -> tuple[str, int | None, int | None, int | None]:
    """Codec, sample rate, channels and samples per channel, from a stream's first packet."""
    if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        return "Vorbis", int.from_bytes(packet[12:16], "little"), packet[11], None
    if packet[:8] == b"OpusHead" and len(packet) >= 10:
        # Opus always decodes to 48 kHz; the rate in its header is what it was made from.
        return "Opus", 48_000, packet[9], None
    if packet[:5] == b"\x7fFLAC" and len(packet) >= 51 and packet[9:13] == b"fLaC":
        return "FLAC", *_stream_info(packet[17:])
    return "Speex" if packet[:5] == b"Speex" else "", None, None, None


def _links(file: BinaryIO) -> tuple[list[int], bool, int]:
    """Where each link begins, whether the last one has its end, and how many streams there are."""
    starts: list[int] = []
    streams, in_headers, ends_well, at = 0, False, False, 0
    while True:
        file.seek(at)
        page = file.read(27)
        if len(page) < 27:
            return starts, ends_well and not page, streams
        if page[:4] != b"OggS":
            found = file.read(_SEARCH_BYTES).find(b"OggS")
            at += 27 + found if found >= 0 else 27 + _SEARCH_BYTES - 3
            continue
        lacing = file.read(page[26])
        if page[5] & _FIRST:
            streams += 1
            if not in_headers and len(starts) < _MAX_LINKS:
                starts.append(at)
        in_headers = bool(page[5] & _FIRST)
        ends_well = bool(page[5] & _LAST)
        at += 27 + len(lacing) + sum(lacing)
        if at > file.seek(0, os.SEEK_END):
            return starts, False, streams
