"""Pauses and turns. Axes: (batch, source, sample)."""

from __future__ import annotations

import torch
from torch import Tensor

SILENT_CHANCE = 0.25
"""That a voice says nothing at all in a piece."""
SHORTEST = 0.3
"""Of what a voice says in a piece, as a part of the piece."""
RAMP_S = 0.02


def take_turns(sources: Tensor, where: Tensor, sample_rate: int, generator: torch.Generator) -> Tensor:
    """Let each voice talk in one stretch of its piece, or not at all; at least one voice talks in every piece.

    Stretches are independent of each other, so overlap goes from none to complete.

    Args:
        sources: (batch, source, samples).
        where: (batch,) bool, on the CPU: the pieces in which voices take turns.
        generator: on the CPU.
    """
    batch, voices, samples = sources.shape
    length = SHORTEST + (1.0 - SHORTEST) * torch.rand(batch, voices, generator=generator)
    start = (1.0 - length) * torch.rand(batch, voices, generator=generator)
    silent = torch.rand(batch, voices, generator=generator) < SILENT_CHANCE
    # Sources that are absent have the highest indices: the first one is always there.
    silent[:, 0] &= ~silent.all(1)
    if not where.any():
        return sources
    device = sources.device
    time = torch.arange(samples, device=device)
    begin = (start * samples)[where].to(device).unsqueeze(-1)
    end = begin + (length * samples)[where].to(device).unsqueeze(-1)
    ramp = RAMP_S * sample_rate
    gate = ((time - begin).minimum(end - time) / ramp).clamp(0.0, 1.0)
    gate = gate * ~silent[where].to(device).unsqueeze(-1)
    gated = sources.clone()
    gated[where.to(device)] *= gate
    return gated
