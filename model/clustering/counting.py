"""How many sources there are, from the embeddings of a recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import kmeans
from unmingle.model.clustering.kmeans import EmbeddingSample, Excerpt, Vectors

Weights = tuple[tuple[float, ...], ...]
"""Per number of sources, 1 first: a weight for each item of the evidence, and at the end a constant."""

_EIGENVALUES = 6
_MOST_CLUSTERS = 4
_STARTS, _SAMPLE = 3, 3000
"""A rougher clustering than the one that makes masks is enough to tell how well K centroids fit."""
_SHARPNESS = 3.5
_WINDOW = 12
"""Frames over which an envelope is taken: about a tenth of a second, shorter than a syllable."""
_ENVELOPE_FLOOR = 0.01

ITEMS = _EIGENVALUES + _MOST_CLUSTERS + (_MOST_CLUSTERS - 1) + 4 * (_MOST_CLUSTERS - 1)
"""Of the evidence."""


def counts_up_to(weights: Weights) -> int:
    """How many sources such weights can count; 0 where there are none, or they were taught with other evidence."""
    return len(weights) if all(len(row) == ITEMS + 1 for row in weights) else 0


def evidence(sample: EmbeddingSample, rng: np.random.Generator) -> NDArray[np.float64]:
    """What tells one number of sources from another, the same for every length and level.

    Embeddings of K sources lie in K directions. Of that speak the logarithms of the largest eigenvalues of their
    weighted Gram matrix, and how well k-means with 1, 2, 3 and 4 centroids fits them, with what each centroid adds.
    Of where clusters lie in time speak their envelopes: two halves of one voice rise and fall together, two voices
    do not.

    Args:
        sample: of a recording, with at least one bin that counts.
        rng: decides the starts of k-means.

    Returns:
        (ITEMS,) float64.
    """
    embeddings, weights = sample.all()
    mass = weights / weights.sum(dtype=np.float64)
    values = np.linalg.eigvalsh((embeddings * mass[:, None]).T @ embeddings)[::-1]
    fits, apart = [], []
    for k in range(1, _MOST_CLUSTERS + 1):
        found = kmeans.cluster(embeddings, weights, k, rng, starts=_STARTS, sample=_SAMPLE)
        fits.append(found.objective)
        if k > 1:
            apart.append(_apart(envelopes(sample.excerpts(), found.centroids)))
    return np.concatenate((np.log(np.maximum(values[:_EIGENVALUES], 1e-6)), fits, np.diff(fits), *apart))


def envelopes(excerpts: Sequence[Excerpt], centroids: Vectors) -> NDArray[np.float64]:
    """How much of the weight belongs to each centroid, window by window: (sources, windows).

    Args:
        excerpts: at least one; each begins a window of its own.
        centroids: (sources, dim), unit norm.
    """
    pieces = []
    for excerpt in excerpts:
        # Sources first: NumPy is slow at the maximum and the sum of each of many short rows.
        similarity = np.ascontiguousarray((_SHARPNESS * (excerpt.embeddings @ centroids.T)).T)
        shares = np.exp(similarity - similarity.max(0))
        shares *= excerpt.weights / shares.sum(0)
        window = excerpt.frames // _WINDOW
        count = int(window.max(initial=0)) + 1
        pieces.append(np.stack([np.bincount(window, share, count) for share in shares]))
    return np.concatenate(pieces, axis=1)


def _apart(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,): highest and mean correlation of two envelopes, how far windows belong to one, the smallest share."""
    sources = len(envelope)
    total = envelope.sum(0)
    level = np.log(envelope + _ENVELOPE_FLOOR * total.mean() / sources)
    level -= level.mean(1, keepdims=True)
    # An envelope that never changes correlates with nothing.
    level /= np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-6)
    correlation = (level @ level.T)[np.triu_indices(sources, 1)]
    smallest = envelope.sum(1).min() / total.sum()
    return np.array(
        [correlation.max(), correlation.mean(), envelope.max(0).sum() / total.sum(), np.log(smallest + 1e-4)]
    )


def probabilities(observed: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """(counts,) chance of 1, 2, 3... sources: softmax of what each number's weights make of the evidence."""
    table = np.asarray(weights)
    scores = table[:, :-1] @ observed + table[:, -1]
    chances = np.exp(scores - scores.max())
    return np.asarray(chances / chances.sum())
