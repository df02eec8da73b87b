"""What becomes of masks before they are applied: which centroids make one sound, and what part of the recording.

Axes: (source, frame, band).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.signal.masks import Masks, band_hz


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of a recording: from `start_s` to `end_s`, from `low_hz` to `high_hz`."""

    start_s: float = 0.0
    end_s: float = np.inf
    low_hz: float = 0.0
    high_hz: float = np.inf


class Arrangement:
    """Masks of centroids -> masks of sounds.

    Attributes:
        sources: how many sounds there are.
    """

    def __init__(self, config: ModelConfig, groups: Sequence[int], box: Box | None = None) -> None:
        """Args:
        config: of the model.
        groups: which sound each centroid belongs to, 0 first, without gaps.
        box: the sounds are heard there only; the rest is background.
        """
        self.sources = max(groups) + 1
        self._groups = np.array(groups)
        self._is_one_each = self._groups.tolist() == list(range(self.sources))
        self._box, self._config = box, config

    def grouped(self, masks: Masks) -> Masks:
        """(centroids, frames, bands) -> (sources, frames, bands); their sum stays."""
        if self._is_one_each:
            return masks
        return np.stack([masks[self._groups == source].sum(0) for source in range(self.sources)])

    def grouped_centroids(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """(centroids, dim) -> (sources, dim): the middle of those of each source, unit norm or zero."""
        if self._is_one_each:
            return centroids
        sums = np.stack([centroids[self._groups == source].sum(0) for source in range(self.sources)])
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-8), np.float32)

    def confine(self, masks: Masks, first_frame: int) -> None:
        """Give the background, which is the last mask, whatever lies outside of the box; in place."""
        if self._box is None:
            return
        inside = inside_box(self._box, self._config, first_frame, masks.shape[1])
        masks[:-1] *= inside
        masks[-1] = 1.0 - masks[:-1].sum(0)


def inside_box(box: Box, config: ModelConfig, first_frame: int, frames: int) -> NDArray[np.bool_]:
    """(frames, bands): which bins lie in a box."""
    hop, window = config.hop, config.window
    at = ((np.arange(first_frame, first_frame + frames) + 1.0) * hop - window / 2) / config.sample_rate
    hz = band_hz(config)
    in_time = (at >= box.start_s) & (at <= box.end_s)
    return np.asarray(in_time[:, None] & ((hz >= box.low_hz) & (hz <= box.high_hz)))
