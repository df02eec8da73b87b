"""Which source a bin belongs to, by where it comes from and by the network's masks together.

A mixture of complex angular central Gaussian distributions (Ito, Araki, Nakatani, EUSIPCO 2016) for the directions of
the channels' spectra, whose weights are the masks of deep clustering, bin by bin (Drude and Haeb-Umbach, Interspeech
2017). The masks also say which component is whom, so the frequencies need not be aligned afterwards.

Axes: (source, bin, frame) for masks, (bin, channel, frame) for spectra, (source, bin, channel, channel) for shapes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.float32]
Spectra = NDArray[np.complex64]
Shapes = NDArray[np.complex64]

_ITERATIONS = 4
_FLOOR = 1e-4
"""Of a mask: the network may be wrong about a bin that it is sure of."""
_LOADING = 1e-3
"""Of a shape, beside its mean eigenvalue."""
_MOST_INDEPENDENT = 4
"""Microphones that a direction counts for. More of them, in a room, tell the same thing again, and would outvote the
network."""


@dataclasses.dataclass(frozen=True)
class Located:
    """What the mixture found.

    Attributes:
        masks: (sources, bins, frames) chance that a bin is a source's.
        shapes: (sources, bins, channels, channels), of mean eigenvalue 1: how a source arrives at the microphones.
        scatter: the same before it was scaled, for the next block of the recording.
    """

    masks: Masks
    shapes: Shapes
    scatter: Shapes


def locate(spectra: Spectra, prior: Masks, before: Shapes | None) -> Located:
    """Expectation maximisation from the network's masks on.

    Args:
        spectra: (bins, channels, frames), every channel at about the same level.
        prior: (sources, bins, frames) masks of the network, which sum to 1.
        before: the scatter of what came before, weighted as it is to count; None at the beginning.
    """
    channels = spectra.shape[1]
    length = np.sqrt(np.square(np.abs(spectra)).sum(1, keepdims=True))
    directions = np.divide(spectra, length, out=np.zeros_like(spectra), where=length > 0)
    # A bin without sound has no direction, and must not count.
    heard = np.asarray(length[:, 0] > 0, np.float32)
    across = np.ascontiguousarray(directions.conj().transpose(0, 2, 1))
    log_prior = np.log(prior + np.float32(_FLOOR))
    power = min(channels, _MOST_INDEPENDENT)
    masks, weights = prior, prior * heard
    for _ in range(_ITERATIONS):
        scatter = np.stack([(directions * w[:, None]) @ across for w in weights])
        if before is not None:
            scatter += before
        shapes = _scaled(scatter)
        spread, distance = _distances(shapes, directions)
        log = log_prior - power * (np.log(distance) + spread[..., None])
        log -= log.max(0)
        masks = np.exp(log, out=log)
        masks /= masks.sum(0)
        weights = masks * heard / distance
    return Located(masks, shapes, scatter)


def _scaled(scatter: Shapes) -> Shapes:
    channels = scatter.shape[-1]
    mean = np.trace(scatter, axis1=2, axis2=3).real / channels
    shapes = scatter / np.maximum(mean, np.float32(1e-20))[..., None, None]
    return np.asarray((shapes + _LOADING * np.eye(channels)) / (1.0 + _LOADING), np.complex64)


def _distances(shapes: Shapes, directions: Spectra) -> tuple[NDArray[np.float32], Masks]:
    """(sources, bins) log-determinant per channel, and (sources, bins, frames) z' B^-1 z of each direction z."""
    channels = shapes.shape[-1]
    root = np.linalg.cholesky(shapes)
    diagonal = np.diagonal(root, axis1=2, axis2=3).real
    spread = (2.0 / channels * np.log(diagonal).sum(-1)).astype(np.float32)
    whiten = np.linalg.inv(root)
    distance = np.empty((*shapes.shape[:2], directions.shape[-1]), np.float32)
    for one, into in zip(whiten, distance, strict=True):
        white = one @ directions
        np.sum(np.square(white.real) + np.square(white.imag), axis=1, out=into)
    return spread, np.maximum(distance, np.float32(1e-6), out=distance)
