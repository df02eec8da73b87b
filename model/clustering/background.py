"""What is background: noise, music under speech, hum. Axes: (frame, band)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded

Weights = NDArray[np.float32]

_FEWEST_FRAMES = 60
"""With voices in them, half a second in all: with fewer, there are none."""
_LEAST_SHARE = 0.05
"""Of the weight of all bins, that is not background: with more, there are voices in any case."""


def chance(embedded: Embedded, config: ModelConfig) -> Weights | None:
    """(frames, bands) chance that the background is the loudest there; None with a model that knows no background.

    The first axis of the embedding space is the background's, whatever else is heard: the chance is a sigmoid of the
    embedding's part along it.
    """
    if not config.background_sharpness:
        return None
    axis = np.zeros((2, config.embedding_dim), np.float32)
    # A softmax of two opposite directions is the sigmoid, wherever the embeddings are.
    axis[0, 0], axis[1, 0] = 1.0, -1.0
    behind: Weights = embedded.soft_masks(axis, config.background_sharpness / 2.0)[0]
    return behind


def foreground(weights: Weights, behind: Weights) -> Weights:
    """Weights of what is not background: nothing where the background is likelier than not.

    A little of every noisy bin would be a cluster of its own, and be counted as somebody.
    """
    return np.asarray(weights * np.where(behind < 0.5, 1.0 - behind, 0.0), np.float32)


class Foreground:
    """How much of a recording is not background."""

    def __init__(self, segments: Iterable[tuple[float, float, int]] = ()) -> None:
        """Args: segments: those of another one."""
        self.segments = [(whole, kept, frames) for whole, kept, frames in segments]
        """Of each segment: the weight of all bins, what is left of it, and how many frames have voices in them."""

    def add(self, weights: Weights, kept: Weights) -> None:
        """Take in a segment: weights of all bins, and what is left of them without the background."""
        before, after = weights.sum(-1, dtype=np.float64), kept.sum(-1, dtype=np.float64)
        loud = before > 0.1 * before.mean()
        frames = int((loud & (after > 0.5 * before)).sum())
        self.segments.append((float(before.sum()), float(after.sum()), frames))

    def extend(self, later: Foreground) -> None:
        """Take in what follows in the same recording."""
        self.segments += later.segments

    @property
    def share(self) -> float:
        """Part of the weight that is not background, 0 to 1; 1 of silence."""
        whole, kept = (sum(segment[at] for segment in self.segments) for at in (0, 1))
        return kept / whole if whole > 0 else 1.0

    @property
    def exists(self) -> bool:
        """Whether anything is heard besides background. Where not, the background itself is what is to be separated."""
        return self.share >= _LEAST_SHARE or sum(frames for _, _, frames in self.segments) >= _FEWEST_FRAMES
