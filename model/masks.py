"""Embeddings and centroids -> masks -> masks on another grid. Axes: (source, frame, band) and (source, frame, bin)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig

Masks = NDArray[np.float32]
Vectors = NDArray[np.float32]


def soft_masks(embeddings: Vectors, centroids: Vectors, sharpness: float) -> Masks:
    """Softmax over sources of sharpness * cosine: (frames, bands, dim), (sources, dim) -> (sources, frames, bands).

    Sums to 1 over the sources everywhere; centroids of zeros give 1 / sources everywhere.
    """
    similarity = _similarity(embeddings, centroids) * np.float32(sharpness)
    similarity -= similarity.max(0, keepdims=True)
    np.exp(similarity, out=similarity)
    similarity /= similarity.sum(0, keepdims=True)
    return similarity


def hard_masks(embeddings: Vectors, centroids: Vectors) -> Masks:
    """1 for the nearest centroid and 0 for the others (the paper's masks), shapes as for `soft_masks`."""
    if not centroids.any():
        return np.full((len(centroids), *embeddings.shape[:2]), 1.0 / len(centroids), np.float32)
    return labels_to_masks(_similarity(embeddings, centroids).argmax(0), len(centroids))


def labels_to_masks(labels: NDArray[np.integer], num_sources: int) -> Masks:
    """(frames, bands) of source indices -> one-hot (sources, frames, bands)."""
    return np.asarray(labels == np.arange(num_sources)[:, None, None], np.float32)


def _similarity(embeddings: Vectors, centroids: Vectors) -> Masks:
    frames, bands, dim = embeddings.shape
    return np.ascontiguousarray((centroids @ embeddings.reshape(-1, dim).T).reshape(-1, frames, bands))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the frames and bins of an STFT lie: `window` and `hop` in samples at `sample_rate` Hz.

    Frame n is centred on sample (n + 1) * hop - window / 2, as in model.stft.
    """

    sample_rate: int
    window: int
    hop: int

    @classmethod
    def at_rate(cls, sample_rate: int, config: ModelConfig) -> Grid:
        """The grid for a recording's own rate that lies closest to the network's, with the same overlap."""
        hop = max(1, round(config.hop * sample_rate / config.sample_rate))
        return cls(sample_rate, hop * (config.window // config.hop), hop)

    def frame_seconds(self, frames: int) -> NDArray[np.float64]:
        """Centre of each frame in seconds."""
        return ((np.arange(frames) + 1.0) * self.hop - self.window / 2) / self.sample_rate

    def bin_hz(self) -> NDArray[np.float64]:
        """Centre of each bin in Hz."""
        return np.arange(self.window // 2 + 1, dtype=np.float64) * (self.sample_rate / self.window)


def band_hz(config: ModelConfig) -> NDArray[np.float64]:
    """Centre of each band in Hz."""
    edges = np.array((*config.band_starts, config.bins), np.float64)
    return (edges[:-1] + edges[1:] - 1) / 2.0 * (config.sample_rate / config.window)


def regrid(masks: Masks, config: ModelConfig, grid: Grid, frames: int) -> Masks:
    """Carry masks from the network's bands to the bins of another grid, linearly in time and in frequency.

    Beyond the network's highest band, its mask holds. Linear interpolation keeps the sum over sources at 1.

    Args:
        masks: (sources, frames, bands) as the network's config lays them out.
        grid: where the masks are wanted.
        frames: how many frames are wanted.

    Returns:
        (sources, frames, bins) of `grid`.
    """
    own = Grid(config.sample_rate, config.window, config.hop)
    masks = _interpolate(masks, own.frame_seconds(masks.shape[1]), grid.frame_seconds(frames), axis=1)
    return _interpolate(masks, band_hz(config), grid.bin_hz(), axis=2)


def _interpolate(values: Masks, have: NDArray[np.float64], want: NDArray[np.float64], axis: int) -> Masks:
    at = np.interp(want, have, np.arange(len(have)))
    # Rounded so that a grid that coincides is copied, not blurred by the last bit of a division.
    at = np.round(at, 6)
    left = np.floor(at).astype(np.int64)
    right = np.minimum(left + 1, len(have) - 1)
    fraction = (at - left).astype(np.float32)
    below = np.take(values, left, axis)
    if not fraction.any():
        return below
    shape = [1] * values.ndim
    shape[axis] = -1
    below += fraction.reshape(shape) * (np.take(values, right, axis) - below)
    return below
