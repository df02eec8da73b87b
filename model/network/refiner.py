"""The refiner (torch): masks of the clustering -> better masks. Axes: (item, source, frame, band).

The clustering decides how many sources there are and which is which. From there on a second network listens to the
recording, asks what its own embeddings make of those sources, and decides bin by bin whom to believe. Every source has
a branch of its own, all with the same weights, which hear of one another: as the split of SepReformer (Shin et al.,
arXiv 2406.05983) and the exchange of TAC (Luo et al., arXiv 1910.14104). Nothing depends on the order or number of
sources.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import BandLinear, DualPathNet, ResidualLstm
from unmingle.model.refining.config import RefinerConfig

LEAST_SHARE = 1e-6
"""A share of nothing has no logarithm."""
_ABSENT = -1e4
"""Logit of a background that is not there."""
_MIXTURES = 2


class Refiner(nn.Module):
    """Moves the logarithm of each source's mask, and lets the sources share each bin anew.

    The last layer starts with zeros, so that an untrained refiner gives back the masks it is given.
    """

    def __init__(self, config: RefinerConfig, listener: ModelConfig) -> None:
        super().__init__()
        self.config = config
        size = listener.frames_per_step * listener.patch_bands
        patches, channels = listener.patches, listener.channels
        self.listener = DualPathNet(listener)
        self.seen = BandLinear(patches, size, channels)
        self.own = BandLinear(patches, 4 * size, channels)
        self.film = nn.Sequential(
            nn.Linear(config.embedding_dim, channels), nn.ReLU(), nn.Linear(channels, 2 * channels)
        )
        self.across_bands = nn.ModuleList(BandMixer(patches, channels) for _ in range(config.layers))
        self.exchanges = nn.ModuleList(Exchange(channels) for _ in range(config.layers))
        self.across_frames = nn.ModuleList(ResidualLstm(channels, listener.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(channels)
        self.head = BandLinear(patches, channels, 2 * size)
        for last in (*self.film[-1].parameters(), *self.head.parameters()):
            nn.init.zeros_(last)

    def forward(self, features: Tensor, behind: Tensor, shares: Tensor, centroids: Tensor) -> Tensor:
        """Refine the masks of the sources; those of the background are what they leave.

        `frames` must be a multiple of the listener's `frames_per_step`.

        Args:
            features: (items, frames, bands) log magnitudes, as the trunk reads them.
            behind: (items, frames, bands) mask of the background; zeros where there is none.
            shares: (items, sources, frames, bands) masks of the sources; with `behind`, they sum to 1.
            centroids: (items, sources, dim) of the trunk's embeddings, unit norm.

        Returns:
            (items, sources, frames, bands), 0 to 1.
        """
        listener, (items, sources) = self.listener, shares.shape[:2]
        encoded = listener.encoded((features - listener.mean) / listener.deviation)
        other = self._other_shares(encoded, features, behind, shares)
        logits, other_logits = shares.clamp_min(LEAST_SHARE).log(), other.clamp_min(LEAST_SHARE).log()
        own = torch.stack((shares, logits / 4.0, other, other_logits / 4.0), -1).flatten(0, 1)
        # From here on (patch, step, item * source, channel).
        patches, channels, rows = listener.config.patches, listener.config.channels, items * sources
        x = encoded.reshape(patches, -1, items, channels) + self._in_patches(self.seen, behind.unsqueeze(-1))
        x = x.unsqueeze(3).expand(-1, -1, -1, sources, -1).reshape(patches, -1, rows, channels)
        x = x + self._in_patches(self.own, own)
        scale, shift = self.film(centroids).flatten(0, 1).chunk(2, -1)
        x = x * (1.0 + scale) + shift
        for across_bands, exchange, across_frames in zip(
            self.across_bands, self.exchanges, self.across_frames, strict=True
        ):
            x = across_bands(x.reshape(patches, -1, channels))
            x = exchange(x.reshape(-1, items, sources, channels))
            x = x.reshape(patches, -1, rows, channels).transpose(0, 1).reshape(-1, patches * rows, channels)
            x = across_frames(x)
            x = x.reshape(-1, patches, rows, channels).transpose(0, 1).reshape(patches, -1, channels)
        belief, change = self._in_bands(self.head(self.norm(x)), items, sources).unbind(-1)
        logits = logits + belief * (other_logits - logits) + change
        background = torch.where(behind > 0.0, behind.clamp_min(LEAST_SHARE).log(), _ABSENT).unsqueeze(1)
        refined: Tensor = torch.cat((logits, background), 1).softmax(1)[:, :-1]
        return refined

    def _other_shares(self, encoded: Tensor, features: Tensor, behind: Tensor, shares: Tensor) -> Tensor:
        """Masks by the listener's embeddings, around the middles of what each source has so far."""
        embeddings = self.listener.decoded(encoded, len(features))
        embeddings = embeddings / torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True).clamp_min(1e-12)
        bins = embeddings.flatten(1, 2)
        weighted = (shares * features.exp().unsqueeze(1)).flatten(2)
        middles = weighted @ bins
        middles = middles / torch.linalg.vector_norm(middles, dim=-1, keepdim=True).clamp_min(1e-12)
        similar = (middles @ bins.transpose(1, 2)).reshape(shares.shape)
        other: Tensor = (self.listener.config.mask_sharpness * similar).softmax(1) * (1.0 - behind.unsqueeze(1))
        return other

    def _in_patches(self, layer: BandLinear, x: Tensor) -> Tensor:
        """(row, frame, band, number) through a layer -> (patch, step, row, channel)."""
        c, rows, numbers = self.listener.config, x.shape[0], x.shape[3]
        x = functional.pad(x, (0, 0, 0, c.patches * c.patch_bands - c.bands))
        x = x.reshape(rows, -1, c.frames_per_step, c.patches, c.patch_bands * numbers).permute(3, 1, 0, 2, 4)
        made: Tensor = layer(x.reshape(c.patches, -1, c.frames_per_step * c.patch_bands * numbers))
        return made.reshape(c.patches, -1, rows, c.channels)

    def _in_bands(self, x: Tensor, items: int, sources: int) -> Tensor:
        """(patch, step * row, numbers of a patch) -> (item, source, frame, band, 2)."""
        c, rows = self.listener.config, items * sources
        x = x.reshape(c.patches, -1, rows, c.frames_per_step, c.patch_bands, 2).permute(2, 1, 3, 0, 4, 5)
        return x.reshape(items, sources, -1, c.patches * c.patch_bands, 2)[..., : c.bands, :]


class BandMixer(nn.Module):
    """x + FFN(x and learnt mixtures of all patches of its step): (patch, n, channel) -> the same.

    Products only, in place of a recurrence over bands (after Tolstikhin et al., "MLP-Mixer", arXiv 2105.01601): on a
    CPU this takes a third of the time, and the listener has been over the bands before.
    """

    def __init__(self, patches: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixtures = nn.Parameter(torch.randn(_MIXTURES * patches, patches) * patches**-0.5)
        self.inner = nn.Linear((1 + _MIXTURES) * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        patches, channels = x.shape[0], x.shape[2]
        y = self.norm(x)
        mixed = (self.mixtures @ y.reshape(patches, -1)).reshape(_MIXTURES, patches, -1, channels)
        heard: Tensor = self.out(functional.relu(self.inner(torch.cat((y, *mixed.unbind(0)), -1))))
        return x + heard


class Exchange(nn.Module):
    """x_k + W3 relu(W1 x_k + W2 mean of the other x_j): (n, item, source, channel) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.own = nn.Linear(channels, channels)
        self.others = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        # Counted by a sum, so that an exported network takes any number of sources.
        count = torch.ones_like(y[..., :1]).sum(2, keepdim=True)
        others = (y.sum(2, keepdim=True) - y) / (count - 1.0).clamp_min(1.0)
        heard: Tensor = self.out(functional.relu(self.own(y) + self.others(others)))
        return x + heard
