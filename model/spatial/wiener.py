"""Masks and shapes -> what each source sounds like at each microphone.

The multichannel Wiener filter of the local Gaussian model (Duong, Vincent, Gribonval, IEEE TASLP 2010): source k has
the covariance v_k(t, f) R_k(f), and its image is v_k R_k (sum over j of v_j R_j)^-1 x. It is a beamformer for each
source and a mask after it in one: equal to an MVDR beamformer followed by a Wiener postfilter where R_k has rank 1.
The images of all sources add up to the recording in every channel. Where all sources have the same R_k, it is the mask.

Axes: (source, bin, frame) for masks and powers, (bin, channel, frame) for spectra.
"""

from __future__ import annotations

import numpy as np

from unmingle.model.spatial import hermitian
from unmingle.model.spatial.mixture import Masks, Shapes, Spectra

_LEAST_MASK = np.float32(1e-5)
_SENSOR = np.float32(1e-7)
"""Power of what every microphone makes itself, beside the mean power of the bin: keeps silence invertible."""


def images(spectra: Spectra, masks: Masks, shapes: Shapes, wanted: int) -> list[Spectra]:
    """The first `wanted` sources at every microphone.

    Args:
        spectra: (bins, channels, frames).
        masks: (sources, bins, frames), which sum to 1.
        shapes: (sources, bins, channels, channels), Hermitian.
        wanted: how many to make.

    Returns:
        (bins, channels, frames) each.
    """
    channels = spectra.shape[1]
    mean = hermitian.power(spectra).mean(1)
    floor = _SENSOR * mean.mean(-1, keepdims=True) + np.finfo(np.float32).tiny * 1e12
    powers = np.maximum(masks, _LEAST_MASK) * (mean + floor)
    right = np.ascontiguousarray(spectra.transpose(1, 0, 2))
    whitened = _whitened(powers, shapes, right)
    # One step of the powers towards what the filter itself makes of them (Sawada et al., IEEE TASLP 2013, eq. 47), which
    # gains 0.2 to 0.8 dB.
    total = np.maximum(powers.sum(0), np.finfo(np.float32).tiny)
    for source, shape in enumerate(shapes):
        made = shape @ whitened
        fit = (whitened.real * made.real + whitened.imag * made.imag).sum(1)
        powers[source] *= np.sqrt(np.maximum(fit, np.float32(1e-12) / total) * total / np.float32(channels))
    whitened = _whitened(powers, shapes, right)
    found = []
    for shape, power in zip(shapes[:wanted], powers[:wanted], strict=True):
        image = shape @ whitened
        image *= power[:, None]
        found.append(image)
    return found


def _whitened(powers: Masks, shapes: Shapes, right: Spectra) -> Spectra:
    """(bins, channels, frames) inverse covariance of the mixture times its spectrum, which is (channel, bin, frame)."""
    channels = len(right)
    # (bin, pair, frame), real and imaginary parts: a matrix product for all pairs together.
    rows, columns = np.tril_indices(channels)
    chosen = shapes[:, :, rows, columns].transpose(1, 2, 0)
    across = powers.transpose(1, 0, 2)
    covariance = np.empty((len(rows), *powers.shape[1:]), np.complex64)
    covariance.real = (np.ascontiguousarray(chosen.real) @ across).transpose(1, 0, 2)
    covariance.imag = (np.ascontiguousarray(chosen.imag) @ across).transpose(1, 0, 2)
    parts = iter(covariance)
    lower = [[next(parts) for _ in range(i + 1)] for i in range(channels)]
    return np.ascontiguousarray(hermitian.solve(lower, right).transpose(1, 0, 2))
