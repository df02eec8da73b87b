"""A mixture of a list as the networks of the table hear it, with its truth, and back to stems.

Axes: (source, sample) for signals, (source, frame, bin) for spectra, (source, frame, band) for masks: bands are what a
network hears (unmingle.model.config), in the table's own networks the bins themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import Embedder
from unmingle.model.metrics import best_permutation, si_sdr_db, si_sdr_improvement_db
from unmingle.model.signal import features, stft
from unmingle.model.signal.masks import Masks, labels_to_masks
from unmingle.training.evaluation.measures import sdr_db
from unmingle.training.evaluation.mixture_list import ListedMixture, load_sources

Masker = Callable[[slice], Masks]
"""Masks (source, frame, band) of a stretch of frames, in any order of the sources."""


ACTIVE_DB = -40.0
"""The paper's silence threshold, relative to the loudest."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """One mixture.

    Attributes:
        listed: what it is made of.
        config: of the networks that hear it.
        sources: (source, sample) at the networks' rate; the mixture is their sum.
        spectra: (source, frame, bin) of the sources.
        magnitude: (frame, band) of the mixture.
        active: (frame, band), what is within 40 dB of the loudest.
    """

    listed: ListedMixture
    config: ModelConfig
    sources: NDArray[np.float32]
    spectra: stft.Spectrum
    magnitude: features.Magnitude
    active: NDArray[np.bool_]

    @property
    def whole(self) -> slice:
        """All frames."""
        return slice(0, len(self.magnitude))

    def segments(self, frames: int) -> list[slice]:
        """Stretches of `frames` frames; the last one takes what is left if that is less than half of one."""
        count = max(1, round(len(self.magnitude) / frames))
        starts = [i * frames for i in range(count)]
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(self.magnitude)], strict=True)]

    def features(self) -> features.Magnitude:
        """(frame, band), what a network is shown."""
        return features.log_magnitude(self.magnitude, self.config.floor_db)

    def in_order(self, masks: Masks, part: slice) -> Masks:
        """The masks of a stretch in the order of the sources: the oracle's permutation.

        The best one has the most of each source's part of the mixture, Re<S, X>, under its mask.
        """
        mixture = self.spectra[:, part].sum(0)
        share = (self.spectra[:, part] * mixture.conj()).real
        return masks[best_permutation(np.einsum("sfb,mfb->sm", share, self._to_bins(masks)))]

    def improvement_db(self, masks: Masks) -> float:
        """SI-SDRi of the masks' stems, best permutation, mean over the sources."""
        return float(np.nanmean(si_sdr_improvement_db(self._stems(masks), self.sources, self.sources.sum(0))))

    def sdr_improvement_db(self, masks: Masks) -> float:
        """The same by the paper's measure, the SDR of BSS Eval, in the order that is best by SI-SDR."""
        stems, mixture = self._stems(masks), self.sources.sum(0)
        order = best_permutation(si_sdr_db(stems[None], self.sources[:, None]))
        gains = [
            sdr_db(stem, source) - sdr_db(mixture, source)
            for stem, source in zip(stems[order], self.sources, strict=True)
        ]
        return float(np.nanmean(gains))

    def ideal(self) -> Masks:
        """The ideal binary mask."""
        power = np.square(np.abs(self.spectra))
        return labels_to_masks(features.band_magnitude(power, self.config).argmax(0), len(self.sources))

    def _stems(self, masks: Masks) -> NDArray[np.float32]:
        c = self.config
        return stft.synthesise(self._to_bins(masks) * self.spectra.sum(0), self.sources.shape[-1], c.window, c.hop)

    def _to_bins(self, masks: Masks) -> Masks:
        """What holds for a band holds for each of its bins."""
        widths = np.diff((*self.config.band_starts, self.config.bins))
        return np.repeat(masks, widths, axis=-1)


def hear(listed: ListedMixture, config: ModelConfig) -> Heard:
    """Load a mixture.

    Raises:
        EvaluationError: a recording is not usable.
    """
    sources, rate = load_sources(listed)
    if rate != config.sample_rate:
        sources = np.stack([soxr.resample(source, rate, config.sample_rate) for source in sources])
    spectra = stft.analyse(sources, config.window, config.hop)
    magnitude = features.band_magnitude(np.square(np.abs(spectra.sum(0))), config)
    active = (magnitude > 0) & (magnitude >= magnitude.max(initial=0.0) * 10.0 ** (ACTIVE_DB / 20.0))
    return Heard(listed, config, sources, spectra, magnitude, active)


def outputs(embedder: Embedder, heard: Heard) -> NDArray[np.float32]:
    """(frame, band, dim), what a network says of the whole mixture."""
    return np.asarray(embedder.embed(heard.features()[None])[0])
