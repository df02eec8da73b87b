"""Embeddings of a recording in files: written once, read as often as the recording is separated.

Axes: (frame, band, dim) for embeddings, (frame, band) for magnitudes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import HOST_KEPT_BYTES, AsBytes, Embedded, Kept, OnHost
from unmingle.model.signal.segments import Segment

_COLUMNS_AT_ONCE = 64

Scalar = TypeVar("Scalar", bound=np.generic)

_EMBEDDINGS, _MAGNITUDES, _SEGMENTS = "embeddings", "magnitudes", "segments.json"


class KeptOnDisk:
    """All segments of a recording: as bytes, or as they are where a separation would keep them so in memory.

    That way masks are those of a separation in one go.
    """

    def __init__(self, directory: Path, config: ModelConfig, expected_bytes: float) -> None:
        """Args:
        directory: exists; it holds what an earlier one wrote there, or nothing.
        config: of the model.
        expected_bytes: of the embeddings of the whole recording, in float32, about.
        """
        self._directory = directory
        self._shape = (config.bands, config.embedding_dim)
        self._as_bytes = expected_bytes > HOST_KEPT_BYTES
        written = directory / _SEGMENTS
        self._written: list[tuple[int, int]] = json.loads(written.read_text()) if written.exists() else []

    @staticmethod
    def most_bytes(frames: float, config: ModelConfig) -> float:
        """How much so many frames take on disk, at the most."""
        float32 = 4 * frames * config.bands * config.embedding_dim
        return (float32 if float32 <= HOST_KEPT_BYTES else float32 / 4) * 1.12 + 4 * frames * config.bands * 1.12

    @property
    def whole(self) -> bool:
        """They are, once they are closed."""
        return True

    def add(self, segment: Segment, embedded: Embedded) -> None:
        """Write them down."""
        host = OnHost(embedded.array())
        array: NDArray[np.generic] = AsBytes.of(host).steps if self._as_bytes else host.vectors
        with (self._directory / _EMBEDDINGS).open("ab") as file:
            file.write(np.ascontiguousarray(array).data)
        with (self._directory / _MAGNITUDES).open("ab") as file:
            file.write(np.ascontiguousarray(segment.magnitude, np.float32).data)
        self._written.append((segment.start, len(segment.magnitude)))

    def close(self) -> None:
        """All are there."""
        (self._directory / _SEGMENTS).write_text(json.dumps(self._written))

    def taken(self) -> Iterator[tuple[Segment, Kept]]:
        """All of them in order, read from disk one by one."""
        before = 0
        for start, frames in self._written:
            rows = slice(before, before + frames)
            yield Segment(start, np.array(self._magnitudes[rows])), self._kept(np.array(self._embeddings[rows]))
            before += frames

    def rounded(self, embedded: Embedded) -> Embedded:
        """As they come back."""
        host = OnHost(embedded.array())
        return AsBytes.of(host).restored() if self._as_bytes else host

    @property
    def frames(self) -> int:
        """How many frames the recording has."""
        return max((start + length for start, length in self._written), default=0)

    def at(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(frames, bands, dim) unit-norm embeddings and (frames, bands) magnitudes of some frames, in any order."""
        rows = self._rows()[frames]
        found = self._kept(self._embeddings[rows]).restored().array()
        return found, np.array(self._magnitudes[rows])

    def loudness(self, edges: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(edges) - 1, bands): the largest magnitude between neighbouring edges, which are frames and rise."""
        rows, magnitudes = self._rows(), self._magnitudes
        loudest = np.zeros((len(edges) - 1, self._shape[0]), np.float32)
        if not len(rows):
            return loudest
        starts, end = edges[:-1].clip(max=len(rows) - 1), edges[1:]
        for first in range(0, len(starts), _COLUMNS_AT_ONCE):
            own = starts[first : first + _COLUMNS_AT_ONCE]
            last = max(int(end[min(first + _COLUMNS_AT_ONCE, len(end)) - 1]), int(own[-1]) + 1)
            part = magnitudes[rows[own[0] : last]]
            loudest[first : first + len(own)] = np.maximum.reduceat(part, own - own[0])
        return loudest

    def loudest(self) -> float:
        """The largest magnitude of all."""
        return float(self._magnitudes.max(initial=0.0))

    def _rows(self) -> NDArray[np.int64]:
        """(frames,) where in the files each frame of the recording lies: in an overlap, in the nearer segment."""
        rows = np.zeros(self.frames, np.int64)
        before = covered = 0
        for start, length in self._written:
            first = start + max(0, covered - start) // 2 if covered else start
            rows[first : start + length] = before + np.arange(first - start, length)
            before, covered = before + length, start + length
        return rows

    @staticmethod
    def _kept(array: NDArray[np.generic]) -> Kept:
        return AsBytes(array) if array.dtype == np.int8 else OnHost(array)  # type: ignore[arg-type]

    @property
    def _embeddings(self) -> NDArray[np.generic]:
        rows = sum(length for _, length in self._written)
        path, shape = self._directory / _EMBEDDINGS, (rows, *self._shape)
        return _mapped(path, np.dtype(np.int8), shape) if self._as_bytes else _mapped(path, np.dtype("f4"), shape)

    @property
    def _magnitudes(self) -> NDArray[np.float32]:
        rows = sum(length for _, length in self._written)
        found: NDArray[np.float32] = _mapped(
            self._directory / _MAGNITUDES, np.dtype(np.float32), (rows, self._shape[0])
        )
        return found


def _mapped(path: Path, kind: np.dtype[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    """A file as an array that is read when it is looked at; nothing of it cannot be mapped."""
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.zeros(shape, kind)


def most_kept_bytes(seconds: float, config: ModelConfig) -> int:
    """How much space all that is kept of a recording may take on disk: embeddings, and samples of them."""
    frames = seconds * config.sample_rate / config.hop + 4
    return int(KeptOnDisk.most_bytes(frames, config)) + 4 * (config.embedding_dim + 2) * 2 * 2 * 65_536
