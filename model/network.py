"""The embedding network (torch). Axes: (batch, frame, band, dim).

Only training and export import this file; serving runs the exported ONNX file and never needs torch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig


class BlstmTrunk(nn.Module):
    """Stacked bidirectional LSTM over time, all bands at once (Hershey et al., section 4)."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
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
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, frames, bands, dim)."""
        c = self.config
        x = x.reshape(x.shape[0], -1, c.frames_per_step * c.bands)
        x, _ = self.lstm(x)
        v: Tensor = self.head(self.dropout(x))
        return v.reshape(x.shape[0], -1, c.bands, c.embedding_dim)


class DualPathTrunk(nn.Module):
    """Patches of frames x bands become tokens; LSTMs run in turn along time and along frequency.

    Weights are shared by all bands and all steps, as in band-split and dual-path networks for direct estimation
    (Luo & Yu, "Music source separation with band-split RNN", 2023; Wang et al., "TF-GridNet", 2023); here the head
    gives embeddings instead of masks.
    """

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.tokens = -(-config.bands // config.bands_per_step)
        patch = config.frames_per_step * config.bands_per_step
        width = self.width = 2 * config.hidden // 2
        self.encode = nn.Linear(patch, width)
        self.position = nn.Parameter(torch.randn(self.tokens, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                (_ResidualBlstm(width, config.hidden, dropout), _ResidualBlstm(width, config.hidden, dropout))
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, patch * config.embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, frames, bands, dim)."""
        c, k = self.config, self.tokens
        x = functional.pad(x, (0, k * c.bands_per_step - c.bands))
        x = x.reshape(x.shape[0], -1, c.frames_per_step, k, c.bands_per_step)
        batch, steps = x.shape[0], x.shape[1]
        x = x.transpose(2, 3).reshape(batch, steps, k, -1)
        x = self.encode(x) + self.position
        for block in self.blocks:
            along_time, along_bands = cast(nn.ModuleList, block)
            y = x.transpose(1, 2).reshape(batch * k, steps, self.width)
            x = along_time(y).reshape(batch, k, steps, self.width).transpose(1, 2)
            y = x.reshape(batch * steps, k, self.width)
            x = along_bands(y).reshape(batch, steps, k, self.width)
        x = self.head(self.norm(x)).reshape(batch, steps, k, c.frames_per_step, c.bands_per_step, c.embedding_dim)
        x = x.transpose(2, 3).reshape(batch, steps * c.frames_per_step, k * c.bands_per_step, c.embedding_dim)
        return x[:, :, : c.bands]


class _ResidualBlstm(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(2 * hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.norm(x))
        update: Tensor = self.project(self.dropout(y))
        return x + update


class EmbeddingNet(nn.Module):
    """Features in, unit-norm embeddings out.

    Standardisation of each band (`mean`, `deviation`) is part of the network, so the exported file needs no other.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        trunks: dict[str, type[BlstmTrunk | DualPathTrunk]] = {"blstm": BlstmTrunk, "dual_path": DualPathTrunk}
        self.trunk = trunks[config.trunk](config, dropout)
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("deviation", torch.ones(config.bands))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands) -> unit-norm (batch, frames, bands, dim), float32.

        `frames` must be a multiple of `config.frames_per_step`; the embedder pads to that.
        """
        v: Tensor = self.trunk((features - self.mean) / self.deviation)
        return functional.normalize(v.float(), dim=-1)
