"""Masks and shapes -> what each source sounds like at each microphone.

The multichannel Wiener filter of the local Gaussian model (Duong, Vincent, Gribonval, IEEE TASLP 2010): source k has
the covariance v_k(t, f) R_k(f), and its image is v_k R_k (sum over j of v_j R_j)^-1 x. It is a beamformer for each
source and a mask after it in one: equal to an MVDR beamformer followed by a Wiener postfilter where R_k has rank 1.
The images of all sources add up to the recording in every channel. Where all sources have the same R_k, it is the mask.

Axes: (source, bin, frame) for masks and powers, (bin, channel, frame) for spectra.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.spatial import hermitian
from unmingle.model.spatial.mixture import Masks, Shapes, Spectra

Missing = NDArray[np.bool_]

_LEAST_MASK = np.float32(1e-5)
_DROWNED = np.float32(1e4)
"""Power of the noise that stands for a channel that is cut off, beside that of the sources."""
_SENSOR = np.float32(1e-7)
"""Power of what every microphone makes itself, beside the mean power of the bin: keeps silence invertible."""


def images(
    spectra: Spectra, masks: Masks, shapes: Shapes, wanted: int, missing: Missing | None = None
) -> list[Spectra]:
    """The first `wanted` sources at every microphone.

    Args:
        spectra: (bins, channels, frames).
        masks: (sources, bins, frames), which sum to 1.
        shapes: (sources, bins, channels, channels), Hermitian.
        wanted: how many to make.
        missing: (channels, frames) where a channel is cut off: what the others say goes, and nothing comes out of it.

    Returns:
        (bins, channels, frames) each.
    """
    channels = spectra.shape[1]
    mean = hermitian.power(spectra).mean(1)
    floor = _SENSOR * mean.mean(-1, keepdims=True) + np.finfo(np.float32).tiny * 1e12
    powers = np.maximum(masks, _LEAST_MASK) * (mean + floor)
    right = np.ascontiguousarray(spectra.transpose(1, 0, 2))
    whitened = _whitened(powers, shapes, right, missing)
    # One step of the powers towards what the filter itself makes of them (Sawada et al., IEEE TASLP 2013, eq. 47). It
    # gains 0.2 to 0.8 dB.
    total = np.maximum(powers.sum(0), np.finfo(np.float32).tiny)
    for source, shape in enumerate(shapes):
        made = shape @ whitened
        fit = (whitened.real * made.real + whitened.imag * made.imag).sum(1)
        powers[source] *= np.sqrt(np.maximum(fit, np.float32(1e-12) / total) * total / np.float32(channels))
    whitened = _whitened(powers, shapes, right, missing)
    found = []
    for shape, power in zip(shapes[:wanted], powers[:wanted], strict=True):
        image = shape @ whitened
        image *= power[:, None]
        if missing is not None:
            image[:, missing] = 0.0
        found.append(image)
    return found


def _whitened(powers: Masks, shapes: Shapes, right: Spectra, missing: Missing | None) -> Spectra:
    """(bins, channels, frames) inverse covariance of the mixture times its spectrum, which is (channel, bin, frame)."""
    channels = len(right)
    # (bin, pair, frame), real and imaginary parts: a matrix product for all pairs together.
    rows, columns = np.tril_indices(channels)
    chosen = shapes[:, :, rows, columns].transpose(1, 2, 0)
    across = powers.transpose(1, 0, 2)
    covariance = np.empty((len(rows), *powers.shape[1:]), np.complex64)
    covariance.real = (np.ascontiguousarray(chosen.real) @ across).transpose(1, 0, 2)
    covariance.imag = (np.ascontiguousarray(chosen.imag) @ across).transpose(1, 0, 2)
    if missing is not None:
        # As if it were drowned in noise there.
        for channel, frames in enumerate(missing):
            covariance[channel * (channel + 3) // 2, :, frames] += (_DROWNED * powers.sum(0)[:, frames]).T
    parts = iter(covariance)
    lower = [[next(parts) for _ in range(i + 1)] for i in range(channels)]
    return np.ascontiguousarray(hermitian.solve(lower, right).transpose(1, 0, 2))
