"""What is heard behind voices: recorded noise and music, coloured noise, hum, babble. Axes: (batch, sample)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEEPEST = 1.2
"""Of a coloured noise: its amplitude falls with frequency to the power of 0 (white) to this (browner than pink)."""
MAINS_HZ = (50.0, 60.0)
HUM_HARMONICS = 40
FLAT_BELOW_HZ = 80.0
VOICE_RMS = 0.05
"""Of a voice in a mixture, as training.mixtures draws them."""
SLOW_S = 0.5
"""Shortest time in which a coloured noise changes its level."""


def coloured_noise(steepness: Tensor, samples: int, sample_rate: int, rng: torch.Generator) -> Tensor:
    """(batch,) steepness -> (batch, samples) of RMS 1: amplitude falls with frequency to that power, from 80 Hz on.

    0 is white noise, 0.5 is pink.
    """
    white = torch.randn((len(steepness), samples), device=rng.device, generator=rng)
    spectrum = torch.fft.rfft(white)
    lowest = max(1.0, FLAT_BELOW_HZ * samples / sample_rate)
    frequency = torch.arange(spectrum.shape[-1], device=rng.device).clamp_min(lowest)
    return at_rms_1(torch.fft.irfft(spectrum * frequency ** -steepness.unsqueeze(-1), samples))


def slow_changes(batch: int, samples: int, sample_rate: int, rng: torch.Generator, depth_db: float = 10.0) -> Tensor:
    """(batch, samples) gains that wander by up to `depth_db` either way."""
    points = max(2, math.ceil(samples / (SLOW_S * sample_rate)) + 1)
    wandering_db = depth_db * (2.0 * torch.rand((batch, 1, points), device=rng.device, generator=rng) - 1.0)
    smooth = torch.nn.functional.interpolate(wandering_db, samples, mode="linear", align_corners=True)
    return torch.pow(10.0, smooth.squeeze(1) / 20.0)


def hum(batch: int, samples: int, sample_rate: int, rng: torch.Generator) -> Tensor:
    """(batch, samples) of RMS 1: mains hum of 50 or 60 Hz with harmonics that fall off at random."""
    device = rng.device
    mains = torch.tensor(MAINS_HZ, device=device)[
        torch.randint(len(MAINS_HZ), (batch, 1), device=device, generator=rng)
    ]
    order = torch.arange(1, HUM_HARMONICS + 1, device=device)
    fall = 0.5 + 1.5 * torch.rand((batch, 1), device=device, generator=rng)
    strength = torch.rand((batch, HUM_HARMONICS), device=device, generator=rng) * order**-fall
    strength = strength * (mains * order < 0.45 * sample_rate)
    phase = 2.0 * math.pi * torch.rand((batch, HUM_HARMONICS, 1), device=device, generator=rng)
    time = torch.arange(samples, device=device) / sample_rate
    angle = 2.0 * math.pi * (mains * order).unsqueeze(-1) * time + phase
    return at_rms_1((strength.unsqueeze(-1) * angle.sin()).sum(1))


def at_rms_1(signals: Tensor) -> Tensor:
    """(..., samples) -> the same with a root mean square of 1; silence stays silence."""
    return signals / signals.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-8)


def at_snr(background: Tensor, voices: Tensor, snr_db: Tensor) -> Tensor:
    """The background, `snr_db` below the voices in energy: (batch, samples), (batch, samples), (batch,).

    Where the voices are silent there is nothing to be below, and the background gets the usual level of a voice.
    """
    loudness = voices.square().mean(-1, keepdim=True).sqrt()
    gain = loudness * torch.pow(10.0, -snr_db / 20.0).unsqueeze(-1)
    return at_rms_1(background) * torch.where(loudness > 0, gain, torch.full_like(gain, VOICE_RMS))
