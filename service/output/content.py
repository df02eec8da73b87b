"""The body of an answer: a sequence of bytes and files, read while they are sent and never concatenated on disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

_BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class FilePart:
    """A whole file.

    Attributes:
        path: of the file, which stays as it is until the answer is sent.
        size: in bytes.
        identity: changes whenever the file does.
    """

    path: Path
    size: int
    identity: str

    @classmethod
    def of(cls, path: Path) -> FilePart:
        """The file as it is now."""
        status = path.stat()
        return cls(path, status.st_size, f"{status.st_dev}-{status.st_ino}-{status.st_mtime_ns}-{status.st_size}")


@dataclasses.dataclass(frozen=True)
class Content:
    """Parts in their order."""

    parts: tuple[bytes | FilePart, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(_size(part) for part in self.parts)

    @property
    def etag(self) -> str:
        """Strong: the same for the same bytes from the same files."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part if isinstance(part, bytes) else part.identity.encode())
        return f'"{digest.hexdigest()[:32]}"'

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `end`. Blocking."""
        end = self.size if end is None else end
        offset = 0
        for part in self.parts:
            first, last = max(start - offset, 0), min(end - offset, _size(part))
            offset += _size(part)
            if first >= last:
                continue
            if isinstance(part, bytes):
                yield part[first:last]
                continue
            with part.path.open("rb") as file:
                file.seek(first)
                while first < last and (block := file.read(min(_BLOCK_BYTES, last - first))):
                    first += len(block)
                    yield block
            if first < last:
                raise OSError(f"{part.path.name} is shorter than it was")

    def read(self) -> bytes:
        """All of it."""
        return b"".join(self.blocks())

    @property
    def files(self) -> tuple[Path, ...]:
        """Of the parts that are files."""
        return tuple(part.path for part in self.parts if isinstance(part, FilePart))

    def moved(self, places: dict[Path, Path]) -> Content:
        """The same, with its files in other places."""
        return Content(
            tuple(
                part if isinstance(part, bytes) else dataclasses.replace(part, path=places[part.path])
                for part in self.parts
            )
        )


def _size(part: bytes | FilePart) -> int:
    return len(part) if isinstance(part, bytes) else part.size
