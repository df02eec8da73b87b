"""The embeddings of one segment, wherever they are, and what the two passes want of them.

Axes: (frame, band, dim) for embeddings, (source, dim) for centroids, (source, frame, band) for masks.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmingle.model.signal import masks
from unmingle.model.signal.masks import Masks, Vectors

HOST_KEPT_BYTES = 64 * 1024 * 1024
"""Embeddings up to this size are kept in memory from listening to masking: as they are, of a recording of up to 40
seconds; as bytes, of one of up to two and a half minutes. Longer ones are embedded twice instead."""
_STEPS = np.float32(127.0)
"""Steps of a kept embedding from 0 to 1. NumPy's conversions to and from bytes are several times faster than those of
float16."""


class Kept(Protocol):
    """Embeddings of one segment that wait for the second pass."""

    @property
    def nbytes(self) -> int:
        """What they take."""
        ...

    @property
    def most_bytes(self) -> int:
        """What all that are kept of one recording may take."""
        ...

    def restored(self) -> Embedded:
        """Themselves, to be used."""
        ...


class Embedded(Protocol):
    """Embeddings of one segment: unit-norm (frames, bands, dim) float32."""

    def array(self) -> Vectors:
        """(frames, bands, dim): all of them, on the host."""
        ...

    def at(self, chosen: NDArray[np.int64]) -> Vectors:
        """(chosen, dim): those of some bins, on the host; a bin is frame * bands + band."""
        ...

    def soft_masks(self, centroids: Vectors, sharpness: float) -> Masks:
        """(sources, frames, bands) on the host, as `masks.soft_masks`."""
        ...

    def hard_masks(self, centroids: Vectors) -> Masks:
        """(sources, frames, bands) on the host, as `masks.hard_masks`."""
        ...

    def block_scores(self, weights: Vectors, frames: int) -> Vectors:
        """(blocks, columns) on the host: products of the mean over every so many frames with each column of weights.

        Args:
            weights: (bands * dim, columns).
            frames: of a block. What is left over is not looked at, unless there is no whole block.
        """
        ...

    def first(self, frames: int) -> Embedded:
        """Those of the first frames only; nothing is copied."""
        ...

    def apart(self) -> Embedded:
        """The same, without keeping others in memory that were embedded in the same call."""
        ...

    def keep(self, expected_bytes: float) -> Kept | None:
        """The same for later, where the whole recording is expected to have so many; None where there is no room."""
        ...


@dataclasses.dataclass(frozen=True)
class OnHost:
    """Embeddings in memory. Attributes: vectors: (frames, bands, dim)."""

    vectors: Vectors

    @property
    def nbytes(self) -> int:
        """What they take."""
        return self.vectors.nbytes

    @property
    def most_bytes(self) -> int:
        """Of one recording."""
        return HOST_KEPT_BYTES

    def array(self) -> Vectors:
        """(frames, bands, dim), not a copy."""
        return self.vectors

    def at(self, chosen: NDArray[np.int64]) -> Vectors:
        """(chosen, dim)."""
        return self.vectors.reshape(-1, self.vectors.shape[-1])[chosen]

    def soft_masks(self, centroids: Vectors, sharpness: float) -> Masks:
        """(sources, frames, bands)."""
        return masks.soft_masks(self.vectors, centroids, sharpness)

    def hard_masks(self, centroids: Vectors) -> Masks:
        """(sources, frames, bands)."""
        return masks.hard_masks(self.vectors, centroids)

    def block_scores(self, weights: Vectors, frames: int) -> Vectors:
        """(blocks, columns)."""
        return np.asarray(block_means(self.vectors, frames) @ weights)

    def first(self, frames: int) -> OnHost:
        """A view."""
        return OnHost(self.vectors[:frames])

    def apart(self) -> OnHost:
        """A copy."""
        return OnHost(self.vectors.copy())

    def keep(self, expected_bytes: float) -> OnHost | AsBytes:
        """As they are where all have room, else as bytes."""
        return self if expected_bytes <= HOST_KEPT_BYTES else AsBytes.of(self)

    def restored(self) -> OnHost:
        """Itself."""
        return self


@dataclasses.dataclass(frozen=True)
class AsBytes:
    """Embeddings in memory, in a quarter of it. Attributes: steps: (frames, bands, dim), -127 to 127."""

    steps: NDArray[np.int8]

    @classmethod
    def of(cls, embedded: OnHost) -> AsBytes:
        """Rounded to the nearest step."""
        steps = embedded.vectors * _STEPS
        return cls(np.rint(steps, out=steps).astype(np.int8))

    @property
    def nbytes(self) -> int:
        """What they take."""
        return self.steps.nbytes

    @property
    def most_bytes(self) -> int:
        """Of one recording."""
        return HOST_KEPT_BYTES

    def restored(self) -> OnHost:
        """Within half a step."""
        vectors = self.steps.astype(np.float32)
        vectors *= 1.0 / _STEPS
        return OnHost(vectors)


def block_means(vectors: Vectors, frames: int) -> Vectors:
    """(frames, bands, dim) -> (blocks, bands * dim): the means over blocks of so many frames."""
    blocks, frames = blocks_of(len(vectors), frames)
    return np.asarray(vectors[: blocks * frames].reshape(blocks, frames, -1).mean(1))


def blocks_of(there: int, frames: int) -> tuple[int, int]:
    """How many blocks there are in so many frames, and how many frames each has: one shorter block at the least."""
    return max(1, there // frames), min(there, frames)
