"""What microphones and lines do to a recording. Axes: (batch, sample), or (batch, source, sample) where said.

Filters and gains are linear: they are applied to every source alike, so that the sources still add up. Quantisation
and clipping are not: they are applied to the mixture only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STOP_DB = -50.0
"""Of a band limit: what is left outside the band."""
EDGE_WIDTH = 0.15
"""Of a band limit's slopes, as a part of the edge's frequency."""
MU, A = 255.0, 87.6
LINE_HZ = 8_000
"""Sample rate of a telephone line (ITU-T G.711)."""


def band_limit(low_hz: Tensor, high_hz: Tensor, bins: int, sample_rate: int) -> Tensor:
    """(batch,) edges -> (batch, bins) gains from 0 Hz to half the sample rate; half of STOP_DB at an edge."""
    frequency = torch.linspace(1e-3, sample_rate / 2, bins, device=low_hz.device)

    def slope(edge: Tensor) -> Tensor:
        edge = edge.unsqueeze(-1)
        return ((frequency - edge) / (EDGE_WIDTH * edge) + 0.5).clamp(0.0, 1.0)

    inside = slope(low_hz) * (1.0 - slope(high_hz))
    return torch.pow(10.0, STOP_DB / 20.0 * (1.0 - inside))


def equaliser(batch: int, bins: int, sample_rate: int, rng: torch.Generator) -> Tensor:
    """(batch, bins) gains: a tilt of up to 6 dB over the band, and three peaks or dips of up to 6 dB."""
    device = rng.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand((batch, *shape), device=device, generator=rng)

    frequency = torch.linspace(20.0, sample_rate / 2, bins, device=device)
    octave = torch.log2(frequency / 1000.0)
    gain_db = uniform(-1.0, 1.0, 1) * 1.5 * octave.clamp(-4.0, 4.0)
    centre, height, wide = uniform(-3.0, 3.0, 3, 1), uniform(-6.0, 6.0, 3, 1), uniform(0.2, 1.0, 3, 1)
    gain_db = gain_db + (height * torch.exp(-0.5 * ((octave - centre) / wide).square())).sum(1)
    return torch.pow(10.0, gain_db / 20.0)


def filtered(signals: Tensor, gains: Tensor) -> Tensor:
    """(batch, ..., samples) through (batch, bins) gains, where bins is samples // 2 + 1; phases stay."""
    shape = (len(signals), *(1,) * (signals.dim() - 2), -1)
    return torch.fft.irfft(torch.fft.rfft(signals) * gains.view(shape), signals.shape[-1])


def resampled(signals: Tensor, sample_rate: int, wanted: int) -> Tensor:
    """(..., samples) at another sample rate, in step; nothing is left above half the lower of the two rates."""
    if wanted == sample_rate:
        return signals
    samples = signals.shape[-1]
    most = math.gcd(sample_rate, wanted)
    parts = -(-samples // (sample_rate // most))
    old, new = parts * (sample_rate // most), parts * (wanted // most)
    spectrum = torch.fft.rfft(signals, old)[..., : (min(old, new) + 1) // 2]
    spectrum = torch.nn.functional.pad(spectrum, (0, new // 2 + 1 - spectrum.shape[-1]))
    return torch.fft.irfft(spectrum, new)[..., : -(-samples * wanted // sample_rate)] * (new / old)


def line_coded(mixture: Tensor, by_mu_law: Tensor, peak: Tensor, sample_rate: int) -> Tensor:
    """(batch, samples) through a digital telephone line: 8 bits at 8 kHz.

    Args:
        by_mu_law: (batch,) bool; A-law otherwise.
        peak: (batch,) of full scale.
    """
    line = resampled(mixture, sample_rate, LINE_HZ)
    line = torch.where(by_mu_law.unsqueeze(-1), mu_law(line, peak), a_law(line, peak))
    return resampled(line, LINE_HZ, sample_rate)[..., : mixture.shape[-1]]


def gain_control(mixture: Tensor, strength: Tensor, sample_rate: int) -> Tensor:
    """Gains of an automatic gain control that follows the level over half a second, within 15 dB.

    Args:
        mixture: (batch, samples).
        strength: (batch,) 0 to 1: how much of a change of level is taken back.

    Returns:
        (batch, samples) factors.
    """
    samples, half = mixture.shape[-1], sample_rate // 4
    energy = torch.nn.functional.pad(mixture.double().square().cumsum(-1), (1, 0))
    time = torch.arange(samples, device=mixture.device)
    first, last = (time - half).clamp_min(0), (time + half + 1).clamp_max(samples)
    level = ((energy[..., last] - energy[..., first]) / (last - first)).float()
    relative = level / mixture.square().mean(-1, keepdim=True).clamp_min(1e-12)
    limit = 10.0**1.5
    return relative.clamp(1.0 / limit, limit) ** (-0.5 * strength.unsqueeze(-1))


def clipped(mixture: Tensor, share: Tensor) -> Tensor:
    """(batch, samples), limited to (batch,) `share` of the highest peak."""
    limit = (mixture.abs().amax(-1) * share).unsqueeze(-1)
    return mixture.minimum(limit).maximum(-limit)


def mu_law(mixture: Tensor, peak: Tensor) -> Tensor:
    """(batch, samples) through 8 bits of mu-law (ITU-T G.711), with (batch,) `peak` of full scale."""
    scale = (peak / mixture.abs().amax(-1).clamp_min(1e-8)).unsqueeze(-1)
    x = mixture * scale
    coded = torch.log1p(MU * x.abs()) / math.log1p(MU)
    steps = (coded * 127.0).round() / 127.0
    return x.sign() * torch.expm1(steps * math.log1p(MU)) / MU / scale


def a_law(mixture: Tensor, peak: Tensor) -> Tensor:
    """(batch, samples) through 8 bits of A-law (ITU-T G.711), with (batch,) `peak` of full scale."""
    scale = (peak / mixture.abs().amax(-1).clamp_min(1e-8)).unsqueeze(-1)
    x = mixture * scale
    size, whole = x.abs(), 1.0 + math.log(A)
    coded = torch.where(size < 1 / A, A * size, 1.0 + torch.log((A * size).clamp_min(1.0))) / whole
    steps = (coded * 127.0).round() / 127.0 * whole
    return x.sign() * torch.where(steps < 1.0, steps, torch.exp(steps - 1.0)) / A / scale
