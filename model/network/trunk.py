"""The embedding networks (torch). Axes: (batch, frame, band, dim).

Only training and export import this file; serving runs the exported ONNX file and never needs torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.model.config import ModelConfig


class EmbeddingNet(nn.Module, ABC):
    """What every embedding network is from outside: features in, a unit-norm embedding of every band of a frame out.

    Standardisation of each band (`mean`, `deviation`) is part of the network, so the exported file needs no other.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("deviation", torch.ones(config.bands))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands) -> unit-norm (batch, frames, bands, dim), float32.

        `frames` must be a multiple of `config.frames_per_step`; the embedder pads to that.
        """
        x = (features - self.mean) / self.deviation
        v = self.directions(x.to(next(self.parameters()).dtype))
        v = v.float()
        # As functional.normalize does it, but without writing each norm once for every dimension when exported.
        unit: Tensor = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(1e-12)
        return unit

    @abstractmethod
    def directions(self, x: Tensor) -> Tensor:
        """Standardised features (batch, frames, bands), of the weights' type -> (batch, frames, bands, dim)."""


def make_network(config: ModelConfig, dropout: float = 0.0) -> EmbeddingNet:
    """The network that a configuration describes, with random weights.

    Args:
        dropout: between layers and before the head, in training mode only.
    """
    return DualPathNet(config, dropout) if config.trunk == "dual_path" else BlstmNet(config, dropout)


class BlstmNet(EmbeddingNet):
    """Stacked bidirectional LSTM over time, all bands of a frame at once: small and fast.

    Hershey et al. (arXiv 1508.04306, section 4), with two savings: high bins come in groups (see ModelConfig), and
    `frames_per_step` frames are read and answered together, which halves the recurrent steps at equal resolution.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config)
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

    def directions(self, x: Tensor) -> Tensor:
        c = self.config
        x = x.reshape(x.shape[0], -1, c.frames_per_step * c.bands)
        x, _ = self.lstm(x)
        v: Tensor = self.head(self.dropout(x))
        return v.reshape(v.shape[0], -1, c.bands, c.embedding_dim)


class DualPathNet(EmbeddingNet):
    """LSTMs over frequency and over time in turn, with an embedding head.

    The spectrum is cut into patches of `frames_per_step` frames and `patch_bands` bands, each patch becomes a vector of
    `channels` numbers by weights of its own band, and every layer lets it hear the other patches of its frames, then
    those of its band, each added to what was there: the alternation of Luo, Chen and Yoshioka (dual-path RNN,
    arXiv 1910.06379), over bands as Luo and Yu (band-split RNN, arXiv 2209.15174). All patches share the weights
    of the layers, so that these are few, and learn from each of them.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config)
        size = config.frames_per_step * config.patch_bands
        self.split = BandLinear(config.patches, size, config.channels)
        self.across_bands = nn.ModuleList(
            ResidualLstm(config.channels, config.hidden, dropout) for _ in range(config.layers)
        )
        self.across_frames = nn.ModuleList(
            ResidualLstm(config.channels, config.hidden, dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.head = BandLinear(config.patches, config.channels, size * config.embedding_dim)

    def directions(self, x: Tensor) -> Tensor:
        return self.decoded(self.encoded(x), x.shape[0])

    def encoded(self, x: Tensor) -> Tensor:
        """What the layers make of standardised features: (batch, frames, bands) -> (patch, step * batch, channel)."""
        c, batch = self.config, x.shape[0]
        patches, high, wide = c.patches, c.frames_per_step, c.patch_bands
        x = functional.pad(x, (0, patches * wide - c.bands))
        x = x.reshape(batch, -1, high, patches, wide).permute(3, 1, 0, 2, 4).reshape(patches, -1, high * wide)
        # From here on (patch, step * batch, channel), and (step, patch * batch, channel) for the LSTMs over time.
        x = self.split(x)
        for across_bands, across_frames in zip(self.across_bands, self.across_frames, strict=True):
            x = across_bands(x)
            x = x.reshape(patches, -1, batch, c.channels).transpose(0, 1).reshape(-1, patches * batch, c.channels)
            x = across_frames(x)
            x = x.reshape(-1, patches, batch, c.channels).transpose(0, 1).reshape(patches, -1, c.channels)
        encoded: Tensor = self.norm(x)
        return encoded

    def decoded(self, x: Tensor, batch: int) -> Tensor:
        """What `encoded` gave -> (batch, frames, bands, dim)."""
        c = self.config
        patches, high, wide = c.patches, c.frames_per_step, c.patch_bands
        v: Tensor = self.head(x)
        v = v.reshape(patches, -1, batch, high, wide, c.embedding_dim).permute(2, 1, 3, 0, 4, 5)
        return v.reshape(batch, -1, patches * wide, c.embedding_dim)[:, :, : c.bands]


class ResidualLstm(nn.Module):
    """x + projection(LSTM(norm(x))), along the first axis: (sequence, batch, channel) -> the same."""

    def __init__(self, channels: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.lstm = nn.LSTM(channels, hidden, bidirectional=True)
        self.projection = nn.Linear(2 * hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.norm(x))
        heard: Tensor = self.dropout(self.projection(y))
        return x + heard


class BandLinear(nn.Module):
    """A linear layer with weights of its own for every patch of a frame: (patch, n, inputs) -> (patch, n, outputs)."""

    def __init__(self, patches: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(patches, inputs, outputs).uniform_(-1.0, 1.0) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(patches, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        # The bias is the weight of one more input, which is 1: adding it to the output, which is many times as large as
        # the input, would take a processor half as long as the product.
        ones = x.new_ones(()).expand(*x.shape[:-1], 1)
        return torch.cat((x, ones), -1) @ torch.cat((self.weight, self.bias), 1)
