"""Objectives of the refiner. Axes: (item, source, frame, band) for masks."""

from __future__ import annotations

import torch
from torch import Tensor

from unmingle.training.refining.examples import Examples

CEILING = 1e-3
"""30 dB: what is better than that gains nothing more."""


def error_energies(refined: Tensor, examples: Examples) -> Tensor:
    """Energy of what masked mixture and true sources differ by: (item, source + 1, frame, band), background last.

    |S - M X|^2 = |S|^2 - 2 M Re<S, X> + M^2 |X|^2, summed over the bins of a band, which share their mask. The STFT's
    windows are a tight frame, so this bounds the error of the waveforms from above; no inverse STFT is needed.
    """
    everything = torch.cat((refined, 1.0 - refined.sum(1, keepdim=True)), 1)
    power = examples.power.unsqueeze(1)
    return (examples.energies - 2.0 * everything * examples.products + everything.square() * power).clamp_min(0.0)


def snr_db(refined: Tensor, examples: Examples, pieces: int) -> Tensor:
    """Signal-to-noise ratio of each stem in dB, of the background last, at most 30: (mixture, source + 1).

    The thresholded SNR of Wisdom et al. ("Unsupervised sound separation using mixture invariant training", NeurIPS
    2020): unlike SI-SDR, it holds the level, so that stems still add up to the mixture. What is silent in a mixture
    counts as silence 30 dB below the mixture.
    """
    error, signal, mixture = (
        _of_mixtures(x.sum((-2, -1)), pieces)
        for x in (error_energies(refined, examples), examples.energies, examples.power.unsqueeze(1))
    )
    floor = CEILING * mixture.clamp_min(1e-10)
    return 10.0 * torch.log10(signal.maximum(floor) / (error + CEILING * signal.maximum(floor)))


def thresholded_snr(refined: Tensor, examples: Examples, pieces: int, background: float = 0.2) -> Tensor:
    """-SNR in dB, the mean over sources and mixtures; the background's counts `background` times, where it is heard."""
    ratios = snr_db(refined, examples, pieces)
    voices = ratios[:, :-1].mean()
    noisy = (_of_mixtures(examples.energies[:, -1].sum((-2, -1)), pieces) > 0).float()
    rest = (ratios[:, -1] * noisy).sum() / noisy.sum().clamp_min(1.0)
    return -(voices + background * rest)


def _of_mixtures(x: Tensor, pieces: int) -> Tensor:
    """Sums over the pieces of each mixture: (item, ...) -> (mixture, ...)."""
    return x.reshape(-1, pieces, *x.shape[1:]).sum(1)
