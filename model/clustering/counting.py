"""How many sources there are, from the embeddings of a recording.

The number grows one by one: are there more than j, given that there are at least j? Each question has a logistic
regression of its own (a continuation-ratio model; Fienberg 1980), over what j and j + 1 clusters look like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import kmeans
from unmingle.model.clustering.kmeans import Clusters, EmbeddingSample, Excerpt, Vectors

Weights = tuple[tuple[float, ...], ...]
"""For each question, 1 first: a weight for each item of the evidence, and at the end a constant."""

_STARTS, _SAMPLE = 3, 3000
"""A rougher clustering than the one that makes masks is enough to tell how well K centroids fit."""
_SHARPNESS = 3.5
_WINDOW = 12
"""Frames over which an envelope is taken: about a tenth of a second, shorter than a syllable."""
_ENVELOPE_FLOOR = 0.01
_FEWER_THAN = 0.01
"""Numbers that are less likely than this, all together, are not looked at."""

ITEMS = 15
"""Of the evidence."""


def counts_up_to(weights: Weights) -> int:
    """How many sources such weights can count; 0 where there are none, or they were taught with other evidence."""
    return len(weights) + 1 if weights and all(len(row) == ITEMS + 1 for row in weights) else 0


class Evidence:
    """What tells one number of sources from another, the same for every length and level."""

    def __init__(self, sample: EmbeddingSample, foreground: float, rng: np.random.Generator) -> None:
        """Args:
        sample: of a recording, with at least one bin that counts.
        foreground: part of the recording that is not background, 0 to 1.
        rng: decides the starts of k-means.
        """
        self._rng = rng
        self._excerpts = sample.excerpts()
        self._embeddings, self._weights = sample.all()
        mass = self._weights / self._weights.sum(dtype=np.float64)
        gram = (self._embeddings * mass[:, None]).T @ self._embeddings
        self._spread = np.log(np.maximum(np.linalg.eigvalsh(gram)[::-1], 1e-6))
        self._foreground = np.log(max(foreground, 1e-3))
        self._found: list[Clusters] = []

    def more_than(self, number: int) -> NDArray[np.float64]:
        """(ITEMS,) what speaks for more than `number` sources.

        Embeddings of K sources lie in K directions: the eigenvalues of their Gram matrix tell, how well K centroids
        fit, and what one more adds. Where one voice was cut in two, two centroids lie close together, and their
        envelopes rise and fall together.
        """
        few, more = self._clusters(number), self._clusters(number + 1)
        gain = more.objective - few.objective
        closeness = more.centroids @ more.centroids.T - 2.0 * np.eye(number + 1, dtype=np.float32)
        pair = np.unravel_index(int(closeness.argmax()), closeness.shape)
        envelope = envelopes(self._excerpts, more.centroids)
        alike = _correlations(envelope)
        shares = envelope.sum(1) / envelope.sum()
        upper = np.triu_indices(number + 1, 1)
        spread = np.pad(self._spread, (0, 1), mode="edge")
        return np.array(
            [
                few.objective,
                gain,
                gain / max(1.0 - few.objective, 1e-3),
                spread[min(number - 1, len(spread) - 1)],
                spread[min(number, len(spread) - 1)],
                spread[min(number + 1, len(spread) - 1)],
                closeness[pair],
                alike[pair],
                alike[upper].max(),
                alike[upper].mean(),
                envelope.max(0).sum() / envelope.sum(),
                np.log(shares.min() + 1e-4),
                np.log(min(shares[pair[0]], shares[pair[1]]) + 1e-4),
                self._foreground,
                np.log(envelope.shape[1]),
            ]
        )

    def _clusters(self, number: int) -> Clusters:
        while len(self._found) < number:
            self._found.append(
                kmeans.cluster(
                    self._embeddings, self._weights, len(self._found) + 1, self._rng, starts=_STARTS, sample=_SAMPLE
                )
            )
        return self._found[number - 1]


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


def _correlations(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """(sources, sources): correlation of the logarithms of (sources, windows) envelopes."""
    level = np.log(envelope + _ENVELOPE_FLOOR * envelope.sum(0).mean() / len(envelope))
    level -= level.mean(1, keepdims=True)
    # An envelope that never changes correlates with nothing.
    level /= np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-6)
    return np.asarray(level @ level.T)


def probabilities(evidence: Evidence, weights: Weights) -> NDArray[np.float64]:
    """(counts,) chance of 1, 2, 3... sources. Looks only at numbers of clusters that still are likely."""
    rows: list[NDArray[np.float64]] = []
    for number in range(1, len(weights) + 1):
        rows.append(evidence.more_than(number))
        chances = chances_of(np.stack(rows), weights)
        if chances[number:].sum() < _FEWER_THAN:
            break
    return chances


def chances_within(most: int, evidence: Evidence, weights: Weights) -> tuple[float, ...]:
    """Chance that there are no more than 1, 2... `most` sources; 1 from where the weights count no further."""
    asked = min(most, len(weights))
    observed = np.stack([evidence.more_than(number) for number in range(1, asked + 1)])
    within = chances_of(observed, weights)[:asked].cumsum()
    return (*map(float, within), *(1.0,) * (most - asked))


def chances_of(observed: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """(counts,) chance of 1, 2, 3... sources, from (questions, ITEMS) evidence for the first questions.

    What speaks for more than the last question asks is not known, so all that is left goes to the number after it.
    """
    chances = np.zeros(len(weights) + 1)
    at_least = 1.0
    for number, (items, row) in enumerate(zip(observed, weights, strict=False)):
        score = float(np.dot(row[:-1], items) + row[-1])
        more = 1.0 / (1.0 + np.exp(-np.clip(score, -30.0, 30.0)))
        chances[number] = at_least * (1.0 - more)
        at_least *= more
    chances[min(len(observed), len(weights))] += at_least
    return chances
