"""Scenes -> what a refiner learns from: masks as the separator makes them, and what they should have been.

Axes: (item, source, frame, band); items are pieces of mixtures, and those of one mixture are neighbours.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unmingle.model.clustering import background, kmeans
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.model.signal import features, masks
from unmingle.training.augment.scene import Scene
from unmingle.training.mixtures import band_sums, log_magnitude, spectra


@dataclasses.dataclass(frozen=True)
class Examples:
    """A batch for a refiner. All of its mixtures have the same number of sources.

    Attributes:
        features: (item, frame, band).
        behind: (item, frame, band) mask of the background; zeros where the separator would find none.
        shares: (item, source, frame, band) masks of the clustering, in the order of the sources that they fit best.
        centroids: (item, source, dim).
        energies: (item, source + 1, frame, band) of the true sources and of the background.
        products: (item, source + 1, frame, band) Re<S, X> of those with the mixture.
        power: (item, frame, band) of the mixture.
    """

    features: Tensor
    behind: Tensor
    shares: Tensor
    centroids: Tensor
    energies: Tensor
    products: Tensor
    power: Tensor


@torch.no_grad()
def make_examples(
    scene: Scene, trunk: EmbeddingNet, pieces: int, found_chance: tuple[float, float], rng: np.random.Generator
) -> Examples:
    """Embed and cluster a batch of scenes as the separator would.

    Args:
        scene: `pieces` neighbours are one mixture, whose sources keep their centroids.
        found_chance: of taking the background apart, in mixtures without and with one. The separator decides that by
            how much it hears of it, and is not always right.
        rng: decides that, and where k-means starts.
    """
    config = trunk.config
    separate = spectra(torch.cat((scene.sources, scene.background.unsqueeze(1)), 1), config)
    heard = spectra(scene.mixture, config)
    power = band_sums(heard.real.square() + heard.imag.square(), config)
    energies = band_sums(separate.real.square() + separate.imag.square(), config)
    products = band_sums(separate.real * heard.real.unsqueeze(1) + separate.imag * heard.imag.unsqueeze(1), config)
    magnitude = power.sqrt()
    observed = log_magnitude(magnitude, config.floor_db)
    embeddings = trunk(observed)
    sources = scene.sources.shape[1]
    vectors, heard_magnitude = embeddings.cpu().numpy(), magnitude.cpu().numpy()
    loudness = energies[:, :sources].sqrt().cpu().numpy()
    behinds, shares, centroids = [], [], []
    for first in range(0, len(observed), pieces):
        items = slice(first, first + pieces)
        noisy = bool((scene.background[items] != 0).any())
        found = rng.random() < found_chance[noisy]
        behind, share, centroid = _clustered(vectors[items], heard_magnitude[items], sources, found, config, rng)
        order = _best_order(share, loudness[items], heard_magnitude[items])
        behinds.append(behind)
        shares.append(share[:, order])
        centroids.append(np.repeat(centroid[None, order], pieces, 0))
    return Examples(
        observed,
        torch.from_numpy(np.concatenate(behinds)).to(observed),
        torch.from_numpy(np.concatenate(shares)).to(observed),
        torch.from_numpy(np.concatenate(centroids)).to(observed),
        energies,
        products,
        power,
    )


def _clustered(
    embeddings: np.ndarray,
    magnitude: np.ndarray,
    sources: int,
    found: bool,
    config: ModelConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of one mixture -> their background, their masks (piece, source, frame, band), and the centroids."""
    weights = np.stack([features.clustering_weights(m) for m in magnitude])
    behind = np.zeros_like(magnitude)
    if found and config.background_sharpness:
        chances = [background.chance(OnHost(e), config) for e in embeddings]
        behind = np.stack([c for c in chances if c is not None])
        weights = background.foreground(weights, behind)
    clusters = kmeans.cluster(embeddings.reshape(-1, config.embedding_dim), weights.ravel(), sources, rng, starts=2)
    shares = np.stack([masks.soft_masks(e, clusters.centroids, config.mask_sharpness) for e in embeddings])
    return behind, np.asarray(shares * (1.0 - behind[:, None]), np.float32), clusters.centroids


def _best_order(shares: np.ndarray, true: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """For each source, which mask lets most of it through and least of the others."""
    overlap = np.einsum("pktf,pstf->sk", shares * magnitude[:, None], true)
    return np.asarray(linear_sum_assignment(-overlap)[1])
