"""Spectral clustering of bins by normalised cuts, with the Nystrom approximation. Axes: (point, dim).

Shi and Malik's criterion as Bach and Jordan ("Learning spectral clustering, with application to speech separation",
JMLR 2006) apply it to spectrograms: weighted k-means in the space of the first eigenvectors. All pairs of bins of five
seconds would be a matrix of 10^9 entries, so a few hundred landmarks stand for them (Fowlkes, Belongie, Chung and
Malik, "Spectral grouping using the Nystrom method", PAMI 2004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import kmeans

LANDMARKS = 300
PATCH = (3, 7)
"""Frames and bins around a bin that describe it."""
SPREAD = (0.3, 12.0, 8.0)
"""Kernel widths of local features: of the patch in standard deviations, of time in frames, of frequency in bins."""


def local_features(log_magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """What can be said of a bin without learning: how its neighbourhood looks, and where it lies.

    Args:
        log_magnitude: (frame, bin).

    Returns:
        (frame, bin, dim), scaled for a Gaussian kernel of width 1.
    """
    frames, bins = log_magnitude.shape
    normal = (log_magnitude - log_magnitude.mean()) / max(float(log_magnitude.std()), 1e-6)
    padded = np.pad(normal, [(size // 2, size // 2) for size in PATCH], mode="edge")
    patches = np.lib.stride_tricks.sliding_window_view(padded, PATCH).reshape(frames, bins, -1)
    patch_width, frame_width, bin_width = SPREAD
    place = np.stack(np.meshgrid(np.arange(frames) / frame_width, np.arange(bins) / bin_width, indexing="ij"), -1)
    return np.concatenate((patches / (patch_width * np.sqrt(patches.shape[-1])), place), -1, dtype=np.float32)


def normalised_cuts(
    points: NDArray[np.float32], num_sources: int, width: float, rng: np.random.Generator, landmarks: int = LANDMARKS
) -> NDArray[np.int64]:
    """Cluster points by normalised cuts of exp(-|x - y|^2 / (2 width^2)).

    Args:
        points: (point, dim).
        num_sources: how many clusters.
        rng: chooses the landmarks and the starts of k-means.
        landmarks: how many; with as many as there are points nothing is approximated.

    Returns:
        (point,) cluster of each point.
    """
    order = rng.permutation(len(points))
    few = min(landmarks, len(points))
    if few <= num_sources:
        return np.arange(len(points)) % num_sources
    chosen, others = points[order[:few]], points[order[few:]]
    A = _kernel(chosen, chosen, width)
    B = _kernel(chosen, others, width)
    # Row sums of the whole matrix, as the landmarks complete it: B' A^-1 B for the pairs that were not computed.
    degree_chosen = A.sum(1) + B.sum(1)
    degree_others = B.sum(0) + B.T @ (np.linalg.pinv(A, 1e-6, hermitian=True) @ B.sum(1))
    degree = np.maximum(np.concatenate((degree_chosen, degree_others)), 1e-9)
    root = np.sqrt(degree)
    A /= root[:few, None] * root[:few]
    B /= root[:few, None] * root[few:]
    inverse_root = _inverse_root(A)
    values, vectors = np.linalg.eigh(A + inverse_root @ (B @ B.T) @ inverse_root)
    first = slice(-num_sources, None)
    turned = inverse_root @ vectors[:, first] / np.sqrt(np.maximum(values[first], 1e-9))
    space = np.concatenate((A @ turned, B.T @ turned))
    space /= np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12)
    space = space.astype(np.float32)
    found = kmeans.cluster(space, degree.astype(np.float32), num_sources, rng)
    labels = np.empty(len(points), np.int64)
    labels[order] = (space @ found.centroids.T).argmax(-1)
    return labels


def _kernel(x: NDArray[np.float32], y: NDArray[np.float32], width: float) -> NDArray[np.float64]:
    distance = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2.0 * (x @ y.T)
    return np.asarray(np.exp(np.maximum(distance, 0.0) / (-2.0 * width * width)), np.float64)


def _inverse_root(A: NDArray[np.float64]) -> NDArray[np.float64]:
    """A^-1/2 of a positive matrix; directions in which it has nothing are left out."""
    values, vectors = np.linalg.eigh(A)
    kept = values > 1e-6 * values[-1]
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T)
