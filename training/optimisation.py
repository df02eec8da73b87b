"""How large a step is: the learning rate's schedule and the clipping of gradients."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

DECAY_FROM = 0.6
LAST_SHARE = 0.03


def learning_rate(highest: float, step: int, progress: float, warm_up: float = 100.0) -> float:
    """Linear warm-up, constant for most of the run, then linear decay to a small part.

    Args:
        highest: the rate between warm-up and decay.
        step: steps done.
        progress: part of the run's budget that is used up, 0 to 1.
        warm_up: steps until the highest rate is reached; below 1, the part of the run.
    """
    if warm_up >= 1.0:
        warm = min(1.0, (step + 1) / warm_up)
    else:
        # The first step of a run that ends by the clock must not be without effect.
        warm = min(1.0, max(progress, 1e-3) / warm_up) if warm_up else 1.0
    decay = min(1.0, 1.0 - (1.0 - LAST_SHARE) * (progress - DECAY_FROM) / (1.0 - DECAY_FROM))
    return highest * warm * max(LAST_SHARE, decay)


class GradientClipper:
    """Clips gradients at a percentile of the norms so far (AutoClip; Seetharaman et al., MLSP 2020).

    Attributes:
        norms: of the last steps, before clipping; all the state there is.
    """

    def __init__(self, percentile: float, remember: int = 2000) -> None:
        self.percentile = percentile
        self.norms: deque[float] = deque(maxlen=remember)

    def clip(self, parameters: Iterable[nn.Parameter]) -> float:
        """Scale the gradients down in place where their norm is above the percentile.

        Returns:
            The norm before; where it is not finite, the step is not to be taken, and the norm is not remembered.
        """
        parameters = list(parameters)
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        value = float(norm)
        if math.isfinite(value):
            self.norms.append(value)
            limit = float(np.percentile(self.norms, self.percentile))
            nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return value


def standardise(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each band: (batch, frame, band) -> (band,), (band,).

    A band in which nothing ever happens (the corpus is narrower than the network hears) must not be blown up.
    """
    return features.mean((0, 1)), features.std((0, 1)).clamp_min(0.1)
