"""Whether sources stay where they are. Axes: (source, frame, bin) for masks, (channel, frame, bin) for spectra."""

from __future__ import annotations

import numpy as np

from unmingle.model.signal.masks import Masks
from unmingle.model.signal.stft import Spectrum
from unmingle.model.spatial import hermitian

_BINS = slice(16, 256, 4)
"""Of windows of 128 ms: 125 Hz to 2 kHz, where voices are, and some of the bins there."""
_ALIKE = 0.86
"""Likeness of where the sources are in two halves of a block. Validation speakers who stay have 0.87 to 0.98, those who
are somewhere else in the second half 0.71 to 0.85."""


def moved(masks: Masks, spectrum: Spectrum) -> bool:
    """Whether the sources come from elsewhere in the second half of a block than in the first.

    Args:
        masks: (sources, frames, bins) of the sources, without a background.
        spectrum: (channels, frames, bins).
    """
    heard = np.ascontiguousarray(spectrum[:, :, _BINS].transpose(2, 0, 1))
    products = hermitian.outer(heard)
    length = products[:, : len(spectrum)].sum(1, keepdims=True)
    products *= np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    # The cube: bins in doubt hold several sources.
    weights = masks[:, :, _BINS].transpose(2, 0, 1) ** 3
    half = spectrum.shape[1] // 2
    halves = [
        (weights[..., frames] @ products[..., frames].transpose(0, 2, 1), weights[..., frames].sum(-1))
        for frames in (slice(None, half), slice(half, None))
    ]
    (first, before), (second, after) = halves
    norms = np.sqrt(np.square(first).sum(-1) * np.square(second).sum(-1))
    likeness = np.divide((first * second).sum(-1), norms, out=np.zeros_like(norms), where=norms > 0)
    # Whoever is silent in one of the halves says nothing.
    both = np.minimum(before, after) * (norms > 0)
    mass = both.sum(0)
    if not (mass > 0).any():
        return False
    means = (likeness * both).sum(0)[mass > 0] / mass[mass > 0]
    return bool(np.average(means, weights=mass[mass > 0]) < _ALIKE)
