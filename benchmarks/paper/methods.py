"""The ways from what a network says, or from the spectrum alone, to masks: one Masker per mixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from benchmarks.paper.hearing import Heard, Masker, outputs
from benchmarks.paper.normalised_cuts import local_features, normalised_cuts
from benchmarks.paper.rows import Row
from benchmarks.paper.two_heads import EmbeddingHead
from unmingle.model.clustering import kmeans
from unmingle.model.embedding.embedder import Embedder
from unmingle.model.signal import features, masks

Method = Callable[[Heard], Masker]

SEED, STARTS = 0, 4
CUT_WIDTH = 0.5
"""Of the Gaussian kernel on embeddings, which lie on the unit sphere."""


def of(row: Row, embedder: Embedder) -> Method:
    """What is done with the numbers of a row's network."""
    match row.kind:
        case "masks":
            return direct_masks(embedder)
        case "both":
            return deep_clustering(EmbeddingHead(embedder))
        case _:
            return deep_clustering(embedder) if row.unit_norm else euclidean_clustering(embedder)


def euclidean_clustering(embedder: Embedder) -> Method:
    """Lloyd's k-means on the embeddings of active bins, which may be of any length; the best of several starts."""

    def prepare(heard: Heard) -> Masker:
        embeddings = outputs(embedder, heard)

        def mask(part: slice) -> masks.Masks:
            points, active = embeddings[part], heard.active[part]
            rng, chosen = np.random.default_rng(SEED), points[active].astype(np.float64)
            found = [kmeans2(chosen, len(heard.sources), minit="++", missing="warn", rng=rng)[0] for _ in range(STARTS)]
            distances = [cdist(chosen, centroids, "sqeuclidean").min(1).sum() for centroids in found]
            centroids = found[int(np.argmin(distances))]
            nearest = cdist(points.reshape(-1, points.shape[-1]), centroids).argmin(1).reshape(points.shape[:-1])
            return (nearest == np.arange(len(centroids))[:, None, None]).astype(np.float32)

        return mask

    return prepare


def deep_clustering(embedder: Embedder) -> Method:
    """k-means on the embeddings of active bins, weighted as in training; hard masks, which are the paper's."""

    def prepare(heard: Heard) -> Masker:
        embeddings = outputs(embedder, heard)

        def mask(part: slice) -> masks.Masks:
            points = embeddings[part]
            weights = features.clustering_weights(heard.magnitude[part])
            found = kmeans.cluster(
                points.reshape(-1, points.shape[-1]), weights.ravel(), len(heard.sources), np.random.default_rng(SEED)
            )
            return masks.hard_masks(points, found.centroids)

        return mask

    return prepare


def direct_masks(embedder: Embedder) -> Method:
    """A network that gives masks: there is nothing to cluster."""

    def prepare(heard: Heard) -> Masker:
        logits = embedder.config.mask_sharpness * np.moveaxis(outputs(embedder, heard), -1, 0)
        shares = np.exp(logits - logits.max(0))
        shares /= shares.sum(0)
        return lambda part: shares[:, part]

    return prepare


def cuts_of_local_features(heard: Heard) -> Masker:
    """Normalised cuts where no network has learned anything."""
    return _cuts(heard, local_features(heard.features()), 1.0)


def cuts_of_embeddings(embedder: Embedder) -> Method:
    """Normalised cuts in place of k-means."""
    return lambda heard: _cuts(heard, outputs(embedder, heard), CUT_WIDTH)


def _cuts(heard: Heard, points: kmeans.Vectors, width: float) -> Masker:
    sources = len(heard.sources)

    def mask(part: slice) -> masks.Masks:
        active = heard.active[part]
        labels = normalised_cuts(points[part][active], sources, width, np.random.default_rng(SEED))
        # What is not active is too faint to matter and is shared out equally.
        shares = np.full((sources, *active.shape), 1.0 / sources, np.float32)
        shares[:, active] = labels == np.arange(sources)[:, None]
        return shares

    return mask
