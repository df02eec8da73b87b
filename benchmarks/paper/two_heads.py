"""Masks beside the embeddings (Chimera++; Wang, Le Roux and Hershey, "Alternative objective functions for deep
clustering", ICASSP 2018): one network answers with both, learns from both, and what is clustered are the embeddings.

Axes: outputs (batch, frame, bin, dim + MASKS), the masks last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.paper import direct
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import Embedder
from unmingle.training import losses
from unmingle.training.mixtures import Batch

MASKS = 2
"""As many as there are sources, fixed."""


def affinity_and_masks(outputs: Tensor, batch: Batch, sharpness: float) -> Tensor:
    """The affinity objective of the embeddings, plus the permutation-invariant one of the masks."""
    embeddings, masks = (normalize(part, dim=-1) for part in (outputs[..., :-MASKS], outputs[..., -MASKS:]))
    of_embeddings = losses.affinity(embeddings, batch.memberships, batch.weights)
    return of_embeddings + direct.permutation_invariant(masks, batch, sharpness)


class EmbeddingHead:
    """The embeddings of a network with two heads: an Embedder."""

    def __init__(self, both: Embedder) -> None:
        self._both = both

    @property
    def config(self) -> ModelConfig:
        """That of the network."""
        return self._both.config

    @property
    def segments_at_once(self) -> int:
        """As of the network."""
        return self._both.segments_at_once

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim)."""
        embeddings = self._both.embed(features)[..., :-MASKS]
        return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
