"""Pixels -> PNG (ISO 15948): 8 bits of red, green and blue, no interlacing."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from unmingle.model.overview import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 3
"""Of compression: these pictures are made while somebody waits."""


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """(rows, columns, 3), the top row first -> a file."""
    rows, columns, _ = pixels.shape
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    # Every row begins with the number of its filter: none.
    filtered = np.zeros((rows, 1 + 3 * columns), np.uint8)
    filtered[:, 1:] = pixels.reshape(rows, -1)
    body = zlib.compress(filtered.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def of_masks(picture: Pixels) -> bytes:
    """Red is the source, green how certain it is, blue how loud; the highest band on top."""
    pixels = np.stack(
        [picture.source, np.rint(255 * picture.certainty), np.rint(255 * picture.loudness)], axis=-1
    ).astype(np.uint8)
    return encode(pixels[::-1])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
