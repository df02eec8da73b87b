"""MPEG audio (MP3) and ADTS (AAC): finding the first frame behind tags, padding and junk."""

from __future__ import annotations

import dataclasses
import os
from typing import BinaryIO, Literal

from unmingle.model.reading import ogg
from unmingle.model.reading.header import AudioHeader, broken, unsupported

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_V1 = {
    3: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_V2 = {
    3: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    1: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_SEARCH_BYTES = 2**18
_LEAST_BYTES = 2**16
_CONFIRMING = 2
"""Frames that have to follow the first, unless the file ends: two bytes of sync are met by chance."""
_MAX_TAGS, _MAX_LINKS = 8, 1024


@dataclasses.dataclass(frozen=True)
class _Frame:
    kind: Literal["MP3", "AAC"]
    version: int
    layer: int
    sample_rate: int
    channels: int
    length: int


def parse(file: BinaryIO) -> AudioHeader | None:
    """The header of an MP3 or ADTS file, or of a FLAC behind an ID3 tag; None where it is none of these."""
    size = file.seek(0, os.SEEK_END)
    begin = _behind_tags(file, 0)
    file.seek(begin)
    window = file.read(_SEARCH_BYTES)
    if begin and window[:4] == b"fLaC":
        return ogg.parse_flac(file, begin)
    found = _first_frame(window, at_end=begin + len(window) == size)
    if found is None:
        if begin and len(window) < _LEAST_BYTES:  # the file may not be all here yet
            raise broken("it breaks off in its ID3 tag, or soon after it")
        if begin:
            raise unsupported("The file has an ID3 tag and no MP3, AAC or FLAC behind it")
        return None
    at, frame = found
    if frame.kind == "AAC":
        return AudioHeader("AAC", "AAC", reader="ffmpeg", demuxer="aac", links=((begin + at, size),))
    links, frames = _links(file, begin + at, size)
    codec = "MP3" if frame.layer == 1 else f"MPEG layer {4 - frame.layer}"
    return AudioHeader("MP3", codec, frame.sample_rate, frame.channels, frames, demuxer="mp3", links=links)


def _behind_tags(file: BinaryIO, begin: int) -> int:
    """Where the ID3 tags end that begin at `begin`; some files have two, and padding between and behind."""
    for _ in range(_MAX_TAGS):
        file.seek(begin)
        tag = file.read(10)
        if tag[:3] != b"ID3":
            return begin
        if len(tag) < 10:
            raise broken("its ID3 tag is cut short")
        length = sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        begin += 10 + length + (10 if tag[5] & 0x10 else 0)
    return begin


def _first_frame(window: bytes, at_end: bool) -> tuple[int, _Frame] | None:
    at = window.find(b"\xff")
    while at >= 0:
        frame = _frame(window[at : at + 8])
        if frame and _confirmed(window, at, frame, at_end):
            return at, frame
        at = window.find(b"\xff", at + 1)
    return None


def _confirmed(window: bytes, at: int, frame: _Frame, at_end: bool) -> bool:
    """Whether more frames of the same kind follow, as far as the window shows it.

    A file may end within its only frame. Behind junk one more has to follow: a letter or noise of a few kilobytes often
    has the first bytes of a frame somewhere, which then would reach to the file's end.
    """
    leading = at == 0
    if leading and frame.length == 0:  # of a free bit rate; nothing else can be told
        return True
    for seen in range(_CONFIRMING):
        if not frame.length:
            return False
        at += frame.length
        if at + 8 > len(window):
            return at_end and (leading or seen > 0)
        follower = _frame(window[at : at + 8])
        if follower is None:
            return window[at : at + 3] in (b"TAG", b"ID3", b"APE")
        if (follower.kind, follower.version, follower.sample_rate) != (frame.kind, frame.version, frame.sample_rate):
            return False
        frame = follower
    return True


def _frame(head: bytes) -> _Frame | None:
    """A frame from its first bytes."""
    if len(head) < 8 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 0x3, head[1] >> 1 & 0x3
    if layer == 0:
        rate = head[2] >> 2 & 0xF
        if head[1] & 0xF0 != 0xF0 or rate >= len(_ADTS_RATES):
            return None
        length = (head[3] & 0x3) << 11 | head[4] << 3 | head[5] >> 5
        channels = (head[2] & 1) << 2 | head[3] >> 6
        return _Frame("AAC", version, layer, _ADTS_RATES[rate], channels, length) if length >= 7 else None
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 0x3
    if version not in _RATES or bit_rate == 15 or rate == 3:
        return None
    sample_rate = _RATES[version][rate]
    bits = 1000 * (_V1 if version == 3 else _V2)[layer][bit_rate]
    padding = head[2] >> 1 & 1
    if layer == 3:
        length = (12 * bits // sample_rate + padding) * 4
    else:
        per_frame = 72 if layer == 1 and version != 3 else 144
        length = per_frame * bits // sample_rate + padding
    return _Frame("MP3", version, layer, sample_rate, 1 if head[3] >> 6 == 3 else 2, length if bits else 0)


def _links(file: BinaryIO, begin: int, size: int) -> tuple[tuple[tuple[int, int], ...], int | None]:
    """(begin, end) of the recordings that lie end to end, and their samples per channel as far as they say.

    A Xing header announces how long its recording is, and a decoder stops there.
    """
    links: list[tuple[int, int]] = []
    total: int | None = 0
    while len(links) < _MAX_LINKS:
        frames, length = _xing(file, begin)
        total = None if total is None or frames is None else total + frames
        end = begin + length if length else size
        after = None
        if length and end < size:
            tags = _behind_tags(file, end)
            file.seek(tags)
            window = file.read(_SEARCH_BYTES)
            after = _first_frame(window, at_end=False)
        if after is None:
            links.append((begin, size))
            break
        links.append((begin, end))
        begin = tags + after[0]
    return tuple(links), total


def _xing(file: BinaryIO, at: int) -> tuple[int | None, int]:
    """Samples per channel and bytes that a Xing or Info header announces; None and 0 where there is none."""
    file.seek(at)
    head = file.read(256)
    frame = _frame(head[:8])
    if frame is None:
        return None, 0
    place = 4 + ({1: 17}.get(frame.channels, 32) if frame.version == 3 else {1: 9}.get(frame.channels, 17))
    if head[place : place + 4] not in (b"Xing", b"Info") or len(head) < place + 16:
        return None, 0
    flags = head[place + 7]
    if flags & 3 != 3:
        return None, 0
    frames = int.from_bytes(head[place + 8 : place + 12], "big")
    length = int.from_bytes(head[place + 12 : place + 16], "big")
    delays = int.from_bytes(head[place + 141 : place + 144], "big") if head[place + 120 : place + 124].isalnum() else 0
    samples = frames * (1152 if frame.version == 3 else 576) - (delays >> 12) - (delays & 0xFFF)
    return max(0, samples), length if length > frame.length else 0
