"""What the spatial model is measured beside: pb_bss's model without a network, and beamforming with true masks.

Axes: (source, channel, frame, bin) for images, (source, frame, bin) for masks, (channel, frame, bin) for spectra.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from unmingle.model.metrics import best_permutation
from unmingle.model.spatial import hermitian

Masks = NDArray[np.floating]
Spectra = NDArray[np.complex64]

CACGMM_WINDOW, CACGMM_HOP = 1024, 256
"""Of pb_bss's example, at 16 kHz."""
_LEAST_EIGENVALUE = 1e-10
_LOADING = 1e-3
_FIRST, _WIDTH, _SHIFT = 100, 100, 20
"""Bins of the segments that are aligned one after the other: where the first begins, and how far the next is moved."""
_FIRST_ROUNDS, _ROUNDS = 20, 2


def cacgmm(spectra: Spectra, sources: int, rng: np.random.Generator, iterations: int = 100) -> Masks:
    """(sources, frames, bins) masks of a mixture of complex angular central Gaussians, from random starts.

    The blind model of pb_bss (CACGMMTrainer with its defaults, then DHTVPermutationAlignment), written anew from Ito,
    Araki, Nakatani (EUSIPCO 2016): each bin on its own, and one weight for each component and bin. From the same start,
    its masks are those of pb_bss.
    """
    vectors = spectra.transpose(2, 0, 1).astype(np.complex128)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    bins, channels, frames = vectors.shape
    products = _real((vectors[:, :, None] * vectors.conj()[:, None]).reshape(bins, -1, frames))
    masks = rng.uniform(size=(bins, sources, frames))
    masks /= masks.sum(1, keepdims=True)
    distances = np.ones_like(masks)
    for _ in range(iterations):
        sums = (masks / distances) @ products.transpose(0, 2, 1)
        half = channels * channels
        scatter = (sums[..., :half] + 1j * sums[..., half:]).reshape(bins, sources, channels, channels)
        values, axes = np.linalg.eigh(scatter)
        values = np.maximum(values / values[..., -1:], _LEAST_EIGENVALUE)
        inverse = (axes / values[..., None, :]) @ axes.conj().swapaxes(-1, -2)
        distances = np.maximum(_real(inverse.reshape(bins, sources, -1), axis=-1) @ products, 1e-30)
        log = -channels * np.log(distances) - np.log(values).sum(-1)[..., None]
        weights = masks.mean(2, keepdims=True)
        masks = weights * np.exp(log - log.max(1, keepdims=True))
        masks /= masks.sum(1, keepdims=True)
        masks = masks.clip(1e-10, 1 - 1e-10)
    aligned = np.take_along_axis(masks.transpose(1, 0, 2), _order(masks.transpose(1, 0, 2))[..., None], 0)
    return np.asarray(aligned.transpose(0, 2, 1), np.float32)


def _real(matrices: NDArray[np.complex128], axis: int = 1) -> NDArray[np.float64]:
    """Hermitian matrices as real vectors, so that tr(AB) is an inner product."""
    return np.concatenate((matrices.real, matrices.imag), axis)


def _order(masks: Masks) -> NDArray[np.int64]:
    """(sources, bins): which component is which source, by segments of bins whose masks rise and fall together.

    Args:
        masks: (sources, bins, frames).
    """
    rows = masks / np.linalg.norm(masks, axis=2, keepdims=True)
    bins = masks.shape[1]
    order = np.repeat(np.arange(len(masks))[:, None], bins, axis=1)
    up = list(range(_FIRST + _SHIFT, bins - _WIDTH, _SHIFT))
    down = list(range(_FIRST - _SHIFT, 0, -_SHIFT))
    segments = [(_FIRST, _FIRST + _WIDTH, _FIRST_ROUNDS)]
    for above, below in zip_longest(up, down):
        if above is not None:
            segments.append((above, bins if above == up[-1] else above + _WIDTH, _ROUNDS))
        if below is not None:
            segments.append((0 if below == down[-1] else below, below + _WIDTH, _ROUNDS))
    for start, end, rounds in segments:
        for _ in range(rounds):
            centre = rows[:, start:end].mean(1)
            for at in range(start, end):
                # Of the centre's sources by the bin's: the bin's component for each source.
                best = best_permutation(centre @ rows[:, at].T)
                rows[:, at], order[:, at] = rows[best, at], order[best, at]
    return order


def true_masks(images: Spectra, mixture_spectra: Spectra) -> Masks:
    """(sources + 1, frames, bins): the part of the power in each bin that is each source's, and the noise's."""
    noise = mixture_spectra - images.sum(0)
    power = np.concatenate((hermitian.power(images).mean(1), hermitian.power(noise).mean(0)[None]))
    return power / np.maximum(power.sum(0), 1e-20)


def mvdr(spectra: Spectra, masks: Masks, sources: int) -> Spectra:
    """MVDR beamformers from masks (Souden, Benesty, Affes, 2010), for every channel as the reference."""
    heard = spectra.transpose(2, 0, 1)
    covariances = np.stack([(heard * mask.T[:, None]) @ heard.conj().transpose(0, 2, 1) for mask in masks])
    beams = []
    for own in covariances[:sources]:
        others = covariances.sum(0) - own
        load = np.trace(others, axis1=1, axis2=2).real[:, None, None] / len(spectra)
        ratio = np.linalg.solve(others + (_LOADING * load + 1e-12) * np.eye(len(spectra)), own)
        weights = ratio / (np.trace(ratio, axis1=1, axis2=2)[:, None, None] + 1e-12)
        beams.append((weights.conj().transpose(0, 2, 1) @ heard).transpose(1, 2, 0))
    return np.stack(beams)
