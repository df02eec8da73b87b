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
        sources: (batch, source, samples); absent ones are zero.
        where: (batch,) bool: the pieces in which voices take turns.
        generator: on the CPU.
    """
    batch, voices, samples = sources.shape
    length = SHORTEST + (1.0 - SHORTEST) * torch.rand(batch, voices, generator=generator)
    start = (1.0 - length) * torch.rand(batch, voices, generator=generator)
    drawn_silent = torch.rand(batch, voices, generator=generator) < SILENT_CHANCE
    if not where.any():
        return sources
    device = sources.device
    where = where.to(device)
    silent = drawn_silent.to(device)[where]
    present = sources[where].any(-1)
    nobody = (silent | ~present).all(1, keepdim=True)
    silent = silent & ~(nobody & (present.cumsum(1) == 1))  # then the first who is there talks
    time = torch.arange(samples, device=device)
    begin = (start * samples).to(device)[where].unsqueeze(-1)
    end = begin + (length * samples).to(device)[where].unsqueeze(-1)
    ramp = RAMP_S * sample_rate
    gate = ((time - begin).minimum(end - time) / ramp).clamp(0.0, 1.0)
    gated = sources.clone()
    gated[where] *= gate * ~silent.unsqueeze(-1)
    return gated
