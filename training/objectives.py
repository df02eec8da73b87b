"""The objective's name, as in --objective -> what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from unmingle.training import losses
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import Batch

Term = Callable[[Tensor, Batch, float], Tensor]
Objective = Sequence[tuple[float, Term]]
"""A sum: factors and terms."""

TERMS: Mapping[str, Term] = {
    "affinity": lambda v, b, _: losses.affinity(v, b.memberships, b.weights),
    "whitened_kmeans": lambda v, b, _: losses.whitened_kmeans(v, b.memberships, b.weights),
    "attractor": lambda v, b, sharpness: losses.attractor_mask(
        v, b.memberships, b.weights, b.targets, b.magnitudes, sharpness
    ),
    "kmeans_mask": lambda v, b, sharpness: losses.attractor_mask(
        v, b.memberships, b.weights, b.targets, b.magnitudes, sharpness, steps=3
    ),
}


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


def evaluate(terms: Objective, embeddings: Tensor, batch: Batch, sharpness: float) -> Tensor:
    """The objective's value for a batch, a scalar in float32.

    Args:
        embeddings: (batch, frame, band, dim), unit norm.
        sharpness: as ModelConfig.mask_sharpness.
    """
    values = [factor * term(embeddings, batch, sharpness) for factor, term in terms]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
