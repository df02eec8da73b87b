"""A ZIP of stored files as it is sent: headers made here, with the files between them (APPNOTE.TXT 6.3, ZIP64 too).

Stored, not compressed: samples hardly compress. Sizes and checksums come before the files, so that every unzipper can
read the archive as a stream, and the whole has a length and parts that Range can ask for.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from unmingle.service.output.content import Content, FilePart

_EPOCH = (1980, 1, 1, 0, 0, 0)  # archives should not depend on the time of day
_FULL_32 = 0xFFFFFFFF
_BLOCK_BYTES = 2**20


def zip_of(
    files: Iterable[Path], texts: Iterable[tuple[str, str]], still_wanted: Callable[[], None] = lambda: None
) -> Content:
    """An archive of files, under their names, and of short texts. Reads the files once, for their checksums.

    Args:
        files: to be archived.
        texts: name and content.
        still_wanted: called several times a second; what it raises ends the work.
    """
    parts: list[bytes | FilePart] = []
    directory: list[bytes] = []
    offset = 0

    def add(name: str, body: bytes | FilePart, checksum: int) -> None:
        nonlocal offset
        size = len(body) if isinstance(body, bytes) else body.size
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.file_size = entry.compress_size = size
        entry.CRC, entry.external_attr = checksum, 0o644 << 16
        large = size >= _FULL_32
        head = entry.FileHeader(zip64=large)
        parts.extend((head, body))
        directory.append(_directory_entry(entry, offset))
        offset += len(head) + size

    for path in files:
        part = FilePart.of(path)
        add(path.name, part, _checksum(path, still_wanted))
    for name, text in texts:
        data = text.encode()
        add(name, data, zlib.crc32(data))
    index = b"".join(directory)
    return Content((*parts, index + _end(len(directory), len(index), offset)))


def _checksum(path: Path, still_wanted: Callable[[], None]) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            still_wanted()
            found = zlib.crc32(block, found)
    return found


def _directory_entry(entry: zipfile.ZipInfo, offset: int) -> bytes:
    """Central directory header (4.3.12), with what does not fit into 32 bits in a ZIP64 field (4.5.3)."""
    large = [size for size in (entry.file_size, entry.compress_size, offset) if size >= _FULL_32]
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    version = 45 if large else 20
    name = entry.filename.encode()
    return (
        struct.pack(
            "<4sBBHHHHHIIIHHHHHII",
            b"PK\x01\x02",
            version,
            3,
            version,
            0,
            zipfile.ZIP_STORED,
            0,
            (1 << 5) | 1,
            entry.CRC,
            min(entry.compress_size, _FULL_32),
            min(entry.file_size, _FULL_32),
            len(name),
            len(extra),
            0,
            0,
            0,
            entry.external_attr,
            min(offset, _FULL_32),
        )
        + name
        + extra
    )


def _end(count: int, size: int, offset: int) -> bytes:
    """End of central directory (4.3.16), after that of ZIP64 where one is needed (4.3.14, 4.3.15)."""
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, min(offset, _FULL_32), 0)
    if offset < _FULL_32:
        return end
    end_64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1)
    return end_64 + locator + end
