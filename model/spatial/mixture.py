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

from unmingle.model.spatial import hermitian

Masks = NDArray[np.float32]
Spectra = NDArray[np.complex64]
Shapes = NDArray[np.complex64]

_ITERATIONS = 4
_EVERY = 2
"""So many frames, one is looked at, but for the masks themselves: neighbours overlap and say much the same."""
_FLOOR = 1e-4
"""Of a mask: the network may be wrong about a bin that it is sure of."""
_LOADING = 1e-3
"""Of a shape, beside its mean eigenvalue."""
_MOST_INDEPENDENT = 2
"""Microphones that a direction counts for. More of them, in a room, tell much the same again, and would outvote the
network: with 4, voices on one line with a row of microphones were mixed up."""


@dataclasses.dataclass(frozen=True)
class Located:
    """What the mixture found.

    Attributes:
        masks: (sources, bins, frames) chance that a bin is a source's.
        shapes: (sources, bins, channels, channels), of mean eigenvalue 1: how a source arrives at the microphones.
        scatter: the same before it was scaled, and of all bins, for the next block of the recording.
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
    products = hermitian.outer(spectra)
    length = products[:, :channels].sum(1, keepdims=True)
    # A bin without sound has no direction, and must not count.
    heard = length > 0
    products *= np.divide(1.0, length, out=np.zeros_like(length), where=heard)
    log_prior = np.log(prior + np.float32(_FLOOR))
    thinned, some_prior = np.ascontiguousarray(products[..., ::_EVERY]), log_prior[..., ::_EVERY]
    some_heard = heard[:, 0, ::_EVERY]
    scatter = _scatter(prior[..., ::_EVERY] * some_heard, thinned, before)
    for _ in range(_ITERATIONS - 1):
        masks, distance = _expect(_scaled(scatter), thinned, some_prior)
        scatter = _scatter(masks * some_heard / distance, thinned, before)
    masks, distance = _expect(_scaled(scatter), products, log_prior)
    some_masks = masks[..., ::_EVERY]
    # The cube: bins in doubt hold several sources, and would blur where each of them is.
    certain = some_masks * np.square(some_masks) * some_heard / distance[..., ::_EVERY]
    return Located(masks, _scaled(_scatter(certain, thinned, before)), scatter)


def _scatter(weights: Masks, products: NDArray[np.float32], before: Shapes | None) -> Shapes:
    """(sources, bins, channels, channels) weighted sum over frames."""
    summed = (weights.transpose(1, 0, 2) @ products.transpose(0, 2, 1)).transpose(1, 0, 2)
    scatter = hermitian.unpack(summed)
    return scatter if before is None else scatter + before


def expect(shapes: Shapes, spectra: Spectra, log_prior: Masks) -> Masks:
    """The masks of sources whose shapes are known: one step of `locate`."""
    products = hermitian.outer(spectra)
    length = products[:, : spectra.shape[1]].sum(1, keepdims=True)
    return _expect(shapes, products / np.maximum(length, np.finfo(np.float32).tiny), log_prior)[0]


def _expect(shapes: Shapes, products: NDArray[np.float32], log_prior: Masks) -> tuple[Masks, Masks]:
    """(sources, bins, frames) masks, and z' B^-1 z of each direction z, whose `products` are z z'."""
    channels = shapes.shape[-1]
    diagonal = np.diagonal(np.linalg.cholesky(shapes), axis1=2, axis2=3).real
    spread = (2.0 / channels * np.log(diagonal).sum(-1)).astype(np.float32)
    inverse = hermitian.pack(np.linalg.inv(shapes))
    distance = np.ascontiguousarray((inverse.transpose(1, 0, 2) @ products).transpose(1, 0, 2))
    np.maximum(distance, np.float32(1e-6), out=distance)
    log = np.log(distance)
    log += spread[..., None]
    log *= -min(channels, _MOST_INDEPENDENT)
    log += log_prior
    log -= log.max(0)
    masks = np.exp(log, out=log)
    masks /= masks.sum(0)
    return masks, distance


def _scaled(scatter: Shapes) -> Shapes:
    channels = scatter.shape[-1]
    mean = np.trace(scatter, axis1=2, axis2=3).real / channels
    shapes = scatter / np.maximum(mean, np.float32(1e-20))[..., None, None]
    return np.asarray((shapes + _LOADING * np.eye(channels)) / (1.0 + _LOADING), np.complex64)
