"""What voices are heard in: rooms and noise, made on the fly, in batches on the sources' device.

Axes: (batch, source, sample) for sources, (batch, sample) for noise. training/acoustics.py is the same for evaluation.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from unmingle.training.acoustics import CRITICAL_M
from unmingle.training.errors import TrainingError

RT60_S = (0.1, 0.7)
DISTANCE_M = (0.3, 1.2)
"""Of each voice from the microphone: how loud its echo is beside it."""
NOISE_DB = (5.0, 35.0)
"""How far noise is below the mixture."""
STEEPEST = 1.2
"""Of a noise's spectrum: amplitude falls with frequency to the power of 0 (white) to this much (browner than pink)."""


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """How often mixtures are heard in which surroundings."""

    room_chance: float = 0.0
    """Chance that a mixture is heard in a room: each source at a distance of its own, with an echo, which belongs to
    it."""
    noise_chance: float = 0.0
    """Chance of noise in a mixture, 5 to 35 dB below it, which is no source: all stems together are the mixture, so it
    has to go with one of them."""

    def __post_init__(self) -> None:
        if not 0 <= self.room_chance <= 1 or not 0 <= self.noise_chance <= 1:
            raise TrainingError(
                f"Expected room_chance and noise_chance from 0 to 1; got {self.room_chance} and {self.noise_chance}."
            )


def surround(
    sources: Tensor, config: Surroundings, pieces: int, sample_rate: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sources as they are heard, and the noise beside them, which is zero where there is none.

    Args:
        sources: (batch, source, samples); `pieces` neighbours are one mixture, in one place.
        generator: on the CPU, decides everything. Where nothing can happen, nothing is drawn from it.

    Returns:
        (batch, source, samples) and (batch, samples).
    """
    batch, device = len(sources), sources.device
    noise = torch.zeros((batch, sources.shape[-1]), device=device)
    if config.room_chance == config.noise_chance == 0:
        return sources, noise
    mixtures = batch // pieces

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = low + (high - low) * torch.rand(mixtures, *shape, generator=generator)
        return drawn.repeat_interleave(pieces, 0)

    echoing = uniform(0.0, 1.0) < config.room_chance
    rt60_s, distance_m = uniform(*RT60_S), uniform(*DISTANCE_M, sources.shape[1])
    noisy = uniform(0.0, 1.0) < config.noise_chance
    below_db, steepness = uniform(*NOISE_DB), uniform(0.0, STEEPEST)
    # What is as long as the signals is drawn where they are.
    rng = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    if echoing.any():
        where = echoing.to(device)
        echo = _echo(sources[where], rt60_s[echoing], distance_m[echoing], pieces, sample_rate, rng)
        sources = sources.clone()
        sources[where] += echo
    if noisy.any():
        where = noisy.to(device)
        made = _noise(int(noisy.sum()), sources.shape[-1], steepness[noisy].to(device), rng)
        loudness = sources[where].sum(1).square().mean(-1).sqrt()
        noise[where] = made * (loudness * 10.0 ** (-below_db[noisy].to(device) / 20.0)).unsqueeze(-1)
    return sources, noise


def _echo(
    sources: Tensor, rt60_s: Tensor, distance_m: Tensor, pieces: int, sample_rate: int, rng: torch.Generator
) -> Tensor:
    """(batch, source, samples) of echo without the direct sound: Polack's model, as in `acoustics.in_a_room`."""
    device, samples = sources.device, sources.shape[-1]
    time = torch.arange(1, round(RT60_S[1] * sample_rate), device=device) / sample_rate
    slope = -3.0 / rt60_s.to(device).reshape(-1, 1, 1)
    shape = (len(sources) // pieces, sources.shape[1], len(time))
    tail = torch.randn(shape, device=device, generator=rng).repeat_interleave(pieces, 0)
    tail = tail * 10.0 ** (slope * time) * (time >= 0.005)
    critical_m = CRITICAL_M / rt60_s.to(device).sqrt().unsqueeze(-1)
    loudness = (distance_m.to(device) / critical_m).unsqueeze(-1)
    tail = tail * (loudness / tail.square().sum(-1, keepdim=True).sqrt())
    size = samples + len(time)
    heard = torch.fft.irfft(torch.fft.rfft(sources, size) * torch.fft.rfft(tail, size), size)
    # The tail begins a sample after the direct sound.
    return torch.nn.functional.pad(heard[..., : samples - 1], (1, 0))


def _noise(count: int, samples: int, steepness: Tensor, rng: torch.Generator) -> Tensor:
    """(count, samples) of RMS 1, from white noise on."""
    spectrum = torch.fft.rfft(torch.randn((count, samples), device=rng.device, generator=rng))
    frequency = torch.arange(spectrum.shape[-1], device=rng.device).clamp_min(samples // 200)  # flat below 80 Hz
    noise = torch.fft.irfft(spectrum * frequency ** -steepness.unsqueeze(-1), samples)
    return noise / noise.square().mean(-1, keepdim=True).sqrt()
