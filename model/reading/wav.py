"""Headers of the WAV family: RIFF, RIFX (big-endian), RF64 and Sony Wave64."""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal

from unmingle.model.reading.header import AudioHeader, Reader, broken

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_CODED = {0x0002: "MS ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0031: "GSM 6.10"}
"""What libsndfile decodes besides PCM and float; the others are left to FFmpeg."""
_MAX_CHUNKS = 64
_W64_CHUNK = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # follows the name of every chunk but riff
W64_START = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


class _Format:
    """A format chunk."""

    def __init__(self, chunk: bytes, order: Literal["<", ">"]) -> None:
        if len(chunk) < 16:
            raise broken("the WAV's format chunk is too short")
        tag, self.channels, self.sample_rate, _, self.block, bits = struct.unpack_from(order + "HHIIHH", chunk)
        if tag == _EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == _GUID_TAIL:
            tag = struct.unpack_from(order + "H", chunk, 24)[0]
        self.linear = tag in (_PCM, _FLOAT)
        self.reader: Reader = "libsndfile"
        if self.linear:
            sizes = range(1, 33) if tag == _PCM else (32, 64)
            if bits not in sizes or self.channels == 0 or self.block != self.channels * -(-bits // 8):
                raise broken(
                    f"the WAV announces {bits} bits, {self.channels} channels and blocks of {self.block} bytes"
                )
            self.codec = f"{'PCM' if tag == _PCM else 'float'} {bits} bit"
            # libsndfile takes the odd sizes for the next larger one and leaves them too quiet or too loud.
            if bits % 8:
                self.reader = "ffmpeg"
        elif tag in _CODED:
            self.codec = _CODED[tag]
        else:
            self.codec, self.reader = f"format 0x{tag:04x}", "ffmpeg"

    def header(self, format: str, demuxer: str, data_bytes: int | None, patches: dict[int, bytes]) -> AudioHeader:
        frames = data_bytes // self.block if self.linear and data_bytes is not None else None
        return AudioHeader(
            format, self.codec, self.sample_rate, self.channels, frames, self.reader, demuxer, patches=patches
        )


def parse(file: BinaryIO) -> AudioHeader:
    """A RIFF, RIFX or RF64 file, whose first 12 bytes are known to be one's."""
    size = file.seek(0, 2)
    file.seek(0)
    magic = file.read(12)[:4]
    order: Literal["<", ">"] = ">" if magic == b"RIFX" else "<"
    form, long_size = None, None
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
        begin = file.tell()
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"fmt ":
            form = _Format(file.read(min(length, 40)), order)
        elif name == b"data":
            if form is None:
                break
            announced = long_size if long_size is not None and length == 0xFFFFFFFF else length
            if announced != size - begin and _is_unknown(announced):
                there = min(size - begin, 0xFFFFFFFF)
                return form.header("WAV", "wav", None, {begin - 4: struct.pack(order + "I", there)})
            return form.header("WAV", "wav", announced, {})
        file.seek(begin + length + length % 2)
    raise broken("a WAV without a format chunk followed by a data chunk")


def _is_unknown(announced: int) -> bool:
    """Whether a length is one that programs write which stream a WAV into a pipe and do not know it.

    It is 0, or the largest number, often less the header's length or less a page.
    """
    return announced in (0, 0xFFFFFFFF) or 36 <= 0xFFFFFFFF - announced <= 512 or 0 <= 0x7FFFFFFF - announced < 4096


def parse_w64(file: BinaryIO) -> AudioHeader:
    """Sony Wave64: a WAV whose names are 16 bytes long and whose lengths 8, with the head of each chunk counted in."""
    size = file.seek(0, 2)
    file.seek(40)
    form = None
    for _ in range(_MAX_CHUNKS):
        begin, head = file.tell(), file.read(24)
        length = int.from_bytes(head[16:], "little")
        if len(head) < 24 or length < 24 or head[4:16] != _W64_CHUNK:
            break
        if head[:4] == b"fmt ":
            form = _Format(file.read(min(length - 24, 40)), "<")
        elif head[:4] == b"data":
            if form is None:
                break
            return form.header("Wave64", "w64", length - 24, {})
        if length > size:  # and might be more than there are file positions
            break
        file.seek(begin + length + -length % 8)
    raise broken("a Wave64 file without a format chunk followed by a data chunk")
