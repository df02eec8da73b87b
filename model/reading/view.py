"""A part of a file, with a few bytes changed, as a file of its own: what a decoder is shown of a recording."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any


class FileView(io.RawIOBase):
    """Bytes `begin` to `end` of a file descriptor, which is read with pread and never moved."""

    def __init__(self, descriptor: int, begin: int, end: int, patches: Mapping[int, bytes] | None = None) -> None:
        """Args: patches: bytes to show instead of those in the file, by their position in the file."""
        self._descriptor, self._begin, self._end = descriptor, begin, max(begin, end)
        self._patches = dict(patches or {})
        self._at = begin

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to the length of `buffer`; 0 at the end."""
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._end - self._at)
        if wanted <= 0:
            return 0
        content = bytearray(os.pread(self._descriptor, wanted, self._at))
        for place, patch in self._patches.items():
            low, high = max(place, self._at), min(place + len(patch), self._at + len(content))
            if low < high:
                content[low - self._at : high - self._at] = patch[low - place : high - place]
        target[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; one outside of the view is taken to its nearest end."""
        origin = {os.SEEK_SET: self._begin, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = min(max(self._begin, origin + offset), self._end)
        return self._at - self._begin

    def tell(self) -> int:
        """The position, from the view's beginning."""
        return self._at - self._begin

    def __len__(self) -> int:
        return self._end - self._begin
