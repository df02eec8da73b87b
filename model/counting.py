"""How many sources there are, from the embeddings of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model import clustering
from model.clustering import Vectors

Weights = tuple[tuple[float, ...], ...]
"""Per number of sources, 1 first: a weight for each item of the evidence, and at the end a constant."""

_EIGENVALUES = 6
_MOST_CLUSTERS = 4


def evidence(embeddings: Vectors, weights: Vectors, rng: np.random.Generator) -> NDArray[np.float64]:
    """What tells one number of sources from another, the same for every length and level.

    Embeddings of K sources lie in K directions. Of that speak the logarithms of the largest eigenvalues of their
    weighted Gram matrix, and how well k-means with 1, 2, 3 and 4 centroids fits them, with what each centroid adds.

    Args:
        embeddings: (bins, dim), unit norm.
        weights: (bins,), not negative, at least one above 0.
        rng: decides the starts of k-means.

    Returns:
        (items,) float64.
    """
    mass = weights / weights.sum(dtype=np.float64)
    values = np.linalg.eigvalsh((embeddings * mass[:, None]).T @ embeddings)[::-1]
    fits = [clustering.cluster(embeddings, weights, k, rng).objective for k in range(1, _MOST_CLUSTERS + 1)]
    return np.concatenate((np.log(np.maximum(values[:_EIGENVALUES], 1e-6)), fits, np.diff(fits)))


def probabilities(observed: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """(counts,) chance of 1, 2, 3... sources: softmax of what each number's weights make of the evidence."""
    table = np.asarray(weights)
    scores = table[:, :-1] @ observed + table[:, -1]
    chances = np.exp(scores - scores.max())
    return np.asarray(chances / chances.sum())
