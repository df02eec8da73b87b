"""The objective's name, as in --objective -> what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from unmingle.model.config import ModelConfig
from unmingle.training import losses
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import Batch

Term = Callable[[Tensor, Batch, ModelConfig], Tensor]
Objective = Sequence[tuple[float, Term]]
"""A sum: factors and terms."""

TERMS: Mapping[str, Term] = {
    "affinity": lambda v, b, _: losses.affinity(v, b.memberships, b.weights),
    "whitened_kmeans": lambda v, b, _: losses.whitened_kmeans(v, b.memberships, b.weights),
    "attractor": lambda v, b, config: _masks(v, b, config, steps=0),
    "kmeans_mask": lambda v, b, config: _masks(v, b, config, steps=3),
    "background": lambda v, b, config: losses.background_entropy(
        v, b.memberships, b.weights, config.background_sharpness
    ),
}


def _masks(embeddings: Tensor, batch: Batch, config: ModelConfig, steps: int) -> Tensor:
    behind = None
    if config.background_sharpness:
        behind = losses.background_logit(embeddings, config.background_sharpness).sigmoid()
    return losses.attractor_mask(
        embeddings,
        batch.memberships,
        batch.weights,
        batch.targets,
        batch.magnitudes,
        config.mask_sharpness,
        steps,
        behind,
    )


def parse_objective(text: str) -> Objective:
    """`whitened_kmeans+2*attractor` -> factors and terms.

    Raises:
        TrainingError: a term that there is not, or a factor that is not a number.
    """
    terms = []
    for part in text.split("+"):
        factor, _, name = part.rpartition("*")
        try:
            terms.append((float(factor or 1.0), TERMS[name]))
        except (KeyError, ValueError) as error:
            raise TrainingError(
                f"The objective '{text}' has a part '{part}'; expected {', '.join(TERMS)}, or a sum of those such as "
                "whitened_kmeans+2*attractor."
            ) from error
    return terms


def evaluate(terms: Objective, embeddings: Tensor, batch: Batch, config: ModelConfig) -> Tensor:
    """The objective's value for a batch, a scalar in float32.

    Args:
        embeddings: (batch, frame, band, dim), unit norm.
        config: of the network.
    """
    values = [factor * term(embeddings, batch, config) for factor, term in terms]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
