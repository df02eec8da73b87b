"""WAV files written by hand: of a length known only at the end, above 4 GiB, and the same bytes for the same samples.

(libsndfile puts the time of day into the header of float files.)
"""

from __future__ import annotations

import struct

_TAGS = {"FLOAT": (3, 4), "PCM_16": (1, 2), "PCM_24": (1, 3)}
_EXTENSIBLE = 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_SPEAKERS = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x13F, 8: 0x63F}
"""Which loudspeakers the channels are for, by their number."""
_RIFF_LIMIT = 2**32 - 2**16


def header_bytes(channels: int, subtype: str) -> int:
    """Length of everything before the first sample."""
    return len(header(channels, 0, 1, subtype))


def header(channels: int, length: int, sample_rate: int, subtype: str) -> bytes:
    """Everything before the first sample of a WAV of `length` samples per channel; RF64 above 4 GiB.

    Its length does not depend on that of the recording, so it can be written over when the recording has ended: where
    RF64 keeps its sizes, a smaller file has a JUNK chunk.
    """
    tag, width = _TAGS[subtype]
    block = channels * width
    data = length * block
    # The short format chunk is for PCM of up to two channels and 16 bits; some programs refuse it for more.
    extensible = channels > 2 or subtype == "PCM_24"
    fields = (channels, sample_rate, sample_rate * block, block, 8 * width)
    form = struct.pack("<HHIIHH", _EXTENSIBLE if extensible else tag, *fields)
    if extensible:
        form += struct.pack("<HHIH", 22, 8 * width, _SPEAKERS.get(channels, 0), tag) + _GUID_TAIL
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    if tag == 3:
        chunks += b"fact" + struct.pack("<II", 4, min(length, 0xFFFFFFFF))
    size = 4 + 36 + len(chunks) + 8 + data
    if size < _RIFF_LIMIT:
        junk = b"JUNK" + struct.pack("<I", 28) + bytes(28)
        return b"RIFF" + struct.pack("<I", size) + b"WAVE" + junk + chunks + b"data" + struct.pack("<I", data)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, size, data, length, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + chunks + b"data\xff\xff\xff\xff"
