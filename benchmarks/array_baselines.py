"""What the spatial model is measured beside: places without a network, and beamforming with true masks.

Axes: (source, channel, frame, bin) for images, (source, frame, bin) for masks, (channel, frame, bin) for spectra.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.metrics import best_permutation
from unmingle.model.spatial import hermitian, mixture, wiener

Masks = NDArray[np.float32]
Spectra = NDArray[np.complex64]

_ROUNDS = 6
"""Times that a mixture is fitted anew from its own masks; each is some steps of expectation maximisation."""
_LOADING = 1e-3


def places_alone(spectra: Spectra, sources: int, rng: np.random.Generator) -> Spectra:
    """The same mixture and filter without a network: random starts, and frequencies put in order by their envelopes.

    Returns:
        (sources, channels, frames, bins).
    """
    heard = np.ascontiguousarray(spectra.transpose(2, 0, 1))
    level = np.sqrt(hermitian.power(heard).mean(2, keepdims=True)) + np.float32(1e-12)
    masks = rng.dirichlet(np.ones(sources), heard.shape[::2]).transpose(2, 0, 1).astype(np.float32)
    for _ in range(_ROUNDS):
        # The weights of the components are those of the whole bin, as nothing is known of single frames.
        weights = np.broadcast_to(masks.mean(2, keepdims=True), masks.shape)
        shapes = mixture.locate(heard / level, masks, None).shapes
        masks = mixture.expect(shapes, heard / level, np.log(weights + 1e-3))
    order = _aligned(masks)
    masks = np.take_along_axis(masks, order[..., None], 0)
    located = mixture.locate(heard / level, masks, None)
    images = wiener.images(heard / level, located.masks, located.shapes, sources)
    return np.stack([(image * level).transpose(1, 2, 0) for image in images])


def _aligned(masks: Masks, rounds: int = 5) -> NDArray[np.int64]:
    """(sources, bins): which component is which source, so that the masks of all bins rise and fall together."""
    rows = masks - masks.mean(2, keepdims=True)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True) + 1e-9
    order = np.repeat(np.arange(len(masks))[:, None], masks.shape[1], axis=1)
    together = rows.sum(1)
    for _ in range(rounds):
        for at in range(masks.shape[1]):
            together -= rows[order[:, at], at]
            order[:, at] = best_permutation(together @ rows[:, at].T)
            together += rows[order[:, at], at]
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
