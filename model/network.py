"""The embedding network (torch). Axes: (batch, frame, band, dim).

Only training and export import this file; serving runs the exported ONNX file and never needs torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig


class EmbeddingNet(nn.Module):
    """Stacked bidirectional LSTM over time that gives every band of every frame an embedding.

    Hershey et al. (arXiv 1508.04306, section 4), with two savings: high bins come in groups (see ModelConfig), and
    `frames_per_step` frames are read and answered together, which halves the recurrent steps at equal resolution.
    Standardisation of each band (`mean`, `deviation`) is part of the network, so the exported file needs no other.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        """Args: dropout between layers and before the head, in training mode only."""
        super().__init__()
        self.config = config
        width = config.bands * config.frames_per_step
        self.lstm = nn.LSTM(
            width,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * config.hidden, width * config.embedding_dim)
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("deviation", torch.ones(config.bands))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands) -> unit-norm (batch, frames, bands, dim), float32.

        `frames` must be a multiple of `config.frames_per_step`; the embedder pads to that.
        """
        c = self.config
        x = (features - self.mean) / self.deviation
        x = x.reshape(x.shape[0], -1, c.frames_per_step * c.bands)
        x, _ = self.lstm(x)
        v: Tensor = self.head(self.dropout(x))
        v = v.reshape(v.shape[0], -1, c.bands, c.embedding_dim)
        return functional.normalize(v.float(), dim=-1)
