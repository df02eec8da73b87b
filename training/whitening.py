"""Within-source covariance normalisation of a trained network (Hatch et al., "Within-class covariance normalization for
SVM-based speaker recognition", 2006).

k-means takes a distance in every direction to mean the same. Embeddings of one source do not spread alike in all
directions, so directions in which they spread far are made to count less. The transform is linear and goes into the
network's last layer: it costs nothing when used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.network import EmbeddingNet
from training.mixtures import Batch, MixtureSampler, make_batch, samples_for

MIXTURES_AT_ONCE = 8


def whiten(network: EmbeddingNet, sampler: MixtureSampler, mixtures: int = 96, frames: int = 400) -> None:
    """Normalise the spread of embeddings around their sources' centroids, in place.

    Args:
        sampler: gives the mixtures on which the spread is measured.
        mixtures: how many.
        frames: of each.
    """
    network.eval()
    samples = samples_for(frames, network.config)
    covariance = torch.zeros(network.config.embedding_dim, network.config.embedding_dim, dtype=torch.float64)
    for _ in range(mixtures // MIXTURES_AT_ONCE):
        batch = make_batch(sampler.sources(sampler.draw(MIXTURES_AT_ONCE, samples), samples), network.config)
        with torch.no_grad():
            covariance += within_source_covariance(network(batch.features), batch)
    fold(network, inverse_root(covariance))


def within_source_covariance(embeddings: Tensor, batch: Batch) -> Tensor:
    """(dim, dim) weighted spread of (batch, frame, band, dim) embeddings around the mean of their source, summed."""
    v = embeddings.double().flatten(1, 2)
    members = (batch.memberships * batch.weights.unsqueeze(-1)).double().flatten(1, 2)
    mass = members.sum(1)
    means = members.transpose(1, 2) @ v / mass.clamp_min(1e-12).unsqueeze(-1)
    second = (v * members.sum(-1, keepdim=True)).transpose(1, 2) @ v
    return (second - (means * mass.unsqueeze(-1)).transpose(1, 2) @ means).sum(0)


def inverse_root(covariance: Tensor) -> Tensor:
    """(C + mean eigenvalue I)^-1/2: shrunk half-way to a sphere, so that directions that are never used stay small."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag((values.clamp_min(0.0) + values.mean()).rsqrt()) @ vectors.T


def fold(network: EmbeddingNet, transform: Tensor) -> None:
    """Make the network give the embeddings `transform` @ v, of unit norm again, in place of v."""
    dim = network.config.embedding_dim
    # Unit norm comes after the head, and the norm of what goes into a linear map does not change the direction of
    # what comes out: the map can be part of the head.
    transform = (transform / torch.linalg.matrix_norm(transform, 2)).to(network.head.weight.dtype)
    with torch.no_grad():
        weight = network.head.weight.reshape(-1, dim, network.head.in_features)
        network.head.weight.copy_((transform @ weight).reshape_as(network.head.weight))
        network.head.bias.copy_((network.head.bias.reshape(-1, dim) @ transform.T).reshape_as(network.head.bias))
