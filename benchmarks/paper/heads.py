"""What the paper tried between the last layer and the clustering: an activation, and embeddings of any length.

The product's networks have neither: what their last layer gives is only brought to unit norm.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import BlstmNet

Activation = Literal["none", "tanh", "logistic"]


class PaperNet(BlstmNet):
    """The product's recurrent network with another end (arXiv 1508.04306, section 4.2)."""

    def __init__(self, config: ModelConfig, activation: Activation, *, unit_norm: bool) -> None:
        """Args:
        activation: of every coordinate.
        unit_norm: whether embeddings are brought to length 1 after it.
        """
        super().__init__(config)
        self._activation: Activation = activation
        self._unit_norm = unit_norm

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, frames, bands, dim)."""
        if self._unit_norm:
            return super().forward(features)
        return self.directions((features - self.mean) / self.deviation)

    def directions(self, x: Tensor) -> Tensor:
        coordinates = super().directions(x)
        match self._activation:
            case "tanh":
                return torch.tanh(coordinates)
            case "logistic":
                return torch.sigmoid(coordinates)
            case _:
                return coordinates
