"""What deep clustering is compared with: networks that give masks directly, a fixed output for each source.

They are a comparison and no part of the product. The network is the same as for embeddings, with as many dimensions as
there are sources; a softmax over them makes the masks. On the unit sphere with this sharpness, masks reach from 1e-6 to
1 - 1e-6, so that nothing is lost by it.

Axes: masks and targets (batch, frame, bin, source), magnitudes (batch, frame, bin).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from unmingle.training.mixtures import Batch
from unmingle.training.objectives import Term

SHARPNESS = 10.0


def as_term(objective: Callable[[Tensor, Batch, float], Tensor]) -> Term:
    """One of the objectives below, as the trainer calls it."""
    return lambda outputs, batch, config: objective(outputs, batch, config.mask_sharpness)


def fixed_order(outputs: Tensor, batch: Batch, sharpness: float) -> Tensor:
    """Output i has to be source i, in the order in which the mixture was drawn: which is arbitrary.

    Args:
        outputs: (batch, frame, bin, source), unit norm, as EmbeddingNet gives them.
        sharpness: masks are softmax(sharpness * outputs).
    """
    return torch.diagonal(_pair_errors(outputs, batch, sharpness), dim1=1, dim2=2).sum(-1).mean()


def permutation_invariant(outputs: Tensor, batch: Batch, sharpness: float) -> Tensor:
    """The order with the least error counts, item by item (Yu, Kolbaek, Tan and Jensen, ICASSP 2017).

    Args: as `fixed_order`.
    """
    errors = _pair_errors(outputs, batch, sharpness)
    outputs_in_order = range(errors.shape[-1])
    of_orders = [errors[:, outputs_in_order, order].sum(-1) for order in itertools.permutations(outputs_in_order)]
    return torch.stack(of_orders, -1).amin(-1).mean()


def _pair_errors(outputs: Tensor, batch: Batch, sharpness: float) -> Tensor:
    """(batch, output, source): squared error of the mixture under a mask against a source, as a share of the mixture.

    The source is its phase-sensitive magnitude. Squared, as in the paper: by absolute errors it is better to give all
    of the mixture to the louder source than to be undecided, and there the network stays.
    """
    masked = (sharpness * outputs).softmax(-1) * batch.magnitudes.unsqueeze(-1)
    errors = [
        (masked - target.unsqueeze(-1)).square().sum((1, 2))
        for target in batch.targets[..., : outputs.shape[-1]].unbind(-1)
    ]
    return torch.stack(errors, -1) / batch.magnitudes.square().sum((1, 2)).clamp_min(1e-8)[:, None, None]
