"""A look at the first bytes of an upload: which audio format and codec it claims to be, before any decoder sees it.

Only formats and codecs of the allow-list pass: WAV with PCM or float samples, FLAC, Ogg with Vorbis, Opus or FLAC, and
MP3. What the header says is a claim; the decoder counts what is really there.
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import BinaryIO, Literal

from unmingle.service.problems import Problem

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000
MAX_CHANNELS = 8

EXPECTED = "expected WAV (PCM or float), FLAC, Ogg (Vorbis, Opus or FLAC) or MP3"

Format = Literal["WAV", "FLAC", "OGG", "MP3"]

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_WAV_CODECS = {0x0002: "MS ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0031: "GSM", 0x0055: "MP3"}
_WAV_MAX_CHUNKS = 64
_LENGTH_UNKNOWN = (0, 0xFFFFFFFF)  # what programs write that stream a WAV into a pipe

_OTHERS = {
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"riff": "Wave64",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"wvpk": "WavPack",
    b"#!AM": "AMR",
    b"PK\x03\x04": "a ZIP archive",
}


@dataclasses.dataclass(frozen=True)
class AudioHeader:
    """What a file claims to be.

    Attributes:
        format: the container.
        codec: how the samples are coded, in words.
        frames: samples per channel that the header announces; None where it does not say.
    """

    format: Format
    codec: str
    sample_rate: int
    channels: int
    frames: int | None = None


def inspect(path: Path) -> AudioHeader:
    """Read and check the header of an upload.

    Raises:
        Problem: empty, not of the allow-list, or with a sample rate or channels outside the limits.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if not start:
            raise Problem("file_empty", f"The uploaded file has 0 bytes; {EXPECTED}.")
        file.seek(0)
        header = _identify(file, start)
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise Problem(
            "too_many_channels",
            f"The recording has {header.channels} channels; expected 1 to {MAX_CHANNELS}.",
            extra={"limit": MAX_CHANNELS, "given": header.channels},
        )
    if not MIN_SAMPLE_RATE <= header.sample_rate <= MAX_SAMPLE_RATE:
        raise Problem(
            "sample_rate_unsupported",
            f"The sample rate is {header.sample_rate} Hz; expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz.",
            extra={"minimum": MIN_SAMPLE_RATE, "maximum": MAX_SAMPLE_RATE, "given": header.sample_rate},
        )
    return header


def _identify(file: BinaryIO, start: bytes) -> AudioHeader:
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        return _wav(file)
    if start[:12] == _W64[:12]:
        return _w64(file)
    if start[:4] == b"fLaC":
        return _flac(file)
    if start[:4] == b"OggS":
        return _ogg(file)
    if start[:3] == b"ID3" or (start[0] == 0xFF and len(start) > 1 and start[1] & 0xE0 == 0xE0):
        return _mp3(file)
    looks = "MP4 or M4A" if start[4:8] == b"ftyp" else _OTHERS.get(start[:4])
    raise _unsupported(f"The file looks like {looks}" if looks else "The file is not audio, or of an unknown format")


def _unsupported(what: str) -> Problem:
    return Problem("format_unsupported", f"{what}; {EXPECTED}.")


def _broken(what: str) -> Problem:
    return Problem("audio_unreadable", f"The file is damaged: {what}. Send the whole file as it was recorded.")


def _wav(file: BinaryIO) -> AudioHeader:
    size = file.seek(0, 2)
    file.seek(12)
    codec, fields, long_size = "", None, None
    for _ in range(_WAV_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], int.from_bytes(head[4:], "little")
        begin = file.tell()
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"fmt ":
            codec, fields = _wav_format(file.read(min(length, 40)))
        elif name == b"data":
            if fields is None:
                break
            channels, sample_rate, block = fields
            announced = long_size if long_size is not None and length == 0xFFFFFFFF else length
            unknown = announced in _LENGTH_UNKNOWN and size - begin != announced
            return AudioHeader("WAV", codec, sample_rate, channels, None if unknown else announced // block)
        file.seek(begin + length + length % 2)
    raise _broken("a WAV without a format chunk followed by a data chunk")


_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_CHUNK = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # follows the name of every chunk but riff


def _w64(file: BinaryIO) -> AudioHeader:
    """Sony Wave64: a WAV whose names are 16 bytes long and whose lengths 8, with the head of each chunk counted in."""
    size = file.seek(0, 2)
    file.seek(40)
    fields, codec = None, ""
    for _ in range(_WAV_MAX_CHUNKS):
        begin, head = file.tell(), file.read(24)
        length = int.from_bytes(head[16:], "little")
        if len(head) < 24 or length < 24 or head[4:16] != _W64_CHUNK:
            break
        if head[:4] == b"fmt ":
            codec, fields = _wav_format(file.read(min(length - 24, 40)))
        elif head[:4] == b"data":
            if fields is None:
                break
            channels, sample_rate, block = fields
            return AudioHeader("WAV", codec, sample_rate, channels, (length - 24) // block)
        if length > size:  # and might be more than there are file positions
            break
        file.seek(begin + length + -length % 8)
    raise _broken("a Wave64 file without a format chunk followed by a data chunk")


def _wav_format(chunk: bytes) -> tuple[str, tuple[int, int, int]]:
    if len(chunk) < 16:
        raise _broken("the WAV's format chunk is too short")
    tag, channels, sample_rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 40:
        tag = struct.unpack_from("<H", chunk, 24)[0] if chunk[26:40] == _GUID_TAIL else tag
    allowed = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if tag not in allowed:
        raise _unsupported(f"The WAV's samples are coded as {_WAV_CODECS.get(tag, f'format 0x{tag:04x}')}")
    if bits not in allowed[tag] or channels == 0 or block != channels * bits // 8:
        raise _broken(f"the WAV announces {bits} bits, {channels} channels and blocks of {block} bytes")
    return f"{'PCM' if tag == _PCM else 'float'} {bits} bit", (channels, sample_rate, block)


def _flac(file: BinaryIO) -> AudioHeader:
    block = file.read(42)
    if len(block) < 42 or block[4] & 0x7F != 0 or int.from_bytes(block[5:8], "big") != 34:
        raise _broken("a FLAC file without its STREAMINFO")
    return _stream_info("FLAC", block[8:])


def _stream_info(container: Format, info: bytes) -> AudioHeader:
    packed = int.from_bytes(info[10:18], "big")
    frames = packed & (2**36 - 1)
    return AudioHeader(container, "FLAC", packed >> 44, (packed >> 41 & 0x7) + 1, frames or None)


def _ogg(file: BinaryIO) -> AudioHeader:
    page = file.read(27)
    if len(page) < 27:
        raise _broken("the first Ogg page is cut short")
    lacing = file.read(page[26])
    packet = file.read(sum(lacing))
    if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        return AudioHeader("OGG", "Vorbis", int.from_bytes(packet[12:16], "little"), packet[11])
    if packet[:8] == b"OpusHead" and len(packet) >= 10:
        # Opus always decodes to 48 kHz; the rate in its header is what it was made from.
        return AudioHeader("OGG", "Opus", 48_000, packet[9])
    if packet[:5] == b"\x7fFLAC" and len(packet) >= 51 and packet[9:13] == b"fLaC":
        return _stream_info("OGG", packet[17:])
    raise _unsupported("The Ogg file's first stream is not Vorbis, Opus or FLAC")


_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MP3_SEARCH = 4096  # some encoders pad their tags


def _mp3(file: BinaryIO) -> AudioHeader:
    begin = 0
    tag = file.read(10)
    if tag[:3] == b"ID3":
        if len(tag) < 10:
            raise _broken("its ID3 tag is cut short")
        length = sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        begin = 10 + length + (10 if tag[5] & 0x10 else 0)
    file.seek(begin)
    window = file.read(_MP3_SEARCH)
    if window[:4] == b"fLaC":
        raise _unsupported("The file is FLAC behind an ID3 tag")
    for at in range(len(window) - 3):
        head = window[at : at + 4]
        version, layer = head[1] >> 3 & 0x3, head[1] >> 1 & 0x3
        bit_rate, rate = head[2] >> 4, head[2] >> 2 & 0x3
        is_frame = head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and version in _MP3_RATES and layer == 1
        if is_frame and bit_rate != 15 and rate != 3:
            return AudioHeader("MP3", "MP3", _MP3_RATES[version][rate], 1 if head[3] >> 6 == 3 else 2)
        if begin == 0:
            break  # without a tag, the first byte is where it must begin
    raise _unsupported("The file has no MP3 frame where it should begin")
