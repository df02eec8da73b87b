"""The path from mixture to stems. It composes the other rooms of this package and holds no maths of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from model import clustering, features, masks, stft
from model.embedder import BUNDLED_MODEL, Device, Embedder, OnnxEmbedder
from model.errors import AudioError, ParameterError

Samples = NDArray[np.float32]
MaskKind = Literal["soft", "hard"]

MAX_SOURCES = 8


@dataclasses.dataclass(frozen=True)
class Separation:
    """What came of one recording.

    Attributes:
        stems: (sources, samples), or (sources, channels, samples) where the mixture had channels; the mixture's
            length, rate and level, loudest first. They add up to the mixture.
        sample_rate: Hz, the mixture's.
        energy_share: per stem, its part of the summed energy of the stems; 0 for all where the mixture is silent.
        stage_seconds: wall time by stage.
    """

    stems: Samples
    sample_rate: int
    energy_share: tuple[float, ...]
    stage_seconds: Mapping[str, float]


class Separator:
    """Separates recordings with one embedder. Holds no state between calls; safe to call from several threads."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    @classmethod
    def load(cls, path: str | Path | None = None, device: Device = "auto") -> Separator:
        """Load a model file; without a path, the one that comes with the package.

        Raises:
            ModelError: the file is missing, damaged, or not one of ours.
        """
        return cls(OnnxEmbedder(Path(path) if path else BUNDLED_MODEL, device))

    def separate(
        self,
        mixture: NDArray[np.floating],
        sample_rate: int,
        num_sources: int = 2,
        *,
        seed: int = 0,
        mask_kind: MaskKind = "soft",
    ) -> Separation:
        """Separate a recording into `num_sources` stems.

        Args:
            mixture: (samples,) or (channels, samples), floating point.
            sample_rate: Hz.
            num_sources: 1 to 8.
            seed: decides the starts of the clustering; the same seed gives the same stems.
            mask_kind: "soft" masks sound better, "hard" ones are the paper's.

        Raises:
            AudioError: no samples, samples that are not finite, or a shape that is not audio.
            ParameterError: `num_sources` or `sample_rate` is out of range.
        """
        signal = _check(mixture, sample_rate, num_sources)
        config = self.embedder.config
        clock = _Clock()
        with clock.stage("resample"):
            heard = signal
            if sample_rate != config.sample_rate:
                heard = np.atleast_2d(soxr.resample(signal.T, sample_rate, config.sample_rate).T)
        with clock.stage("stft"):
            power = np.square(np.abs(stft.analyse(heard, config.window, config.hop))).mean(0)
            magnitude = features.band_magnitude(power, config)
            observed = features.log_magnitude(magnitude, config.floor_db)
        with clock.stage("embed"):
            embeddings = self.embedder.embed(observed[None])[0]
        with clock.stage("cluster"):
            found = clustering.cluster(
                embeddings.reshape(-1, config.embedding_dim),
                features.clustering_weights(magnitude).ravel(),
                num_sources,
                np.random.default_rng(seed),
            )
        with clock.stage("mask"):
            if mask_kind == "soft":
                shares = masks.soft_masks(embeddings, found.centroids, config.mask_sharpness)
            else:
                shares = masks.hard_masks(embeddings, found.centroids)
        with clock.stage("synthesise"):
            stems = _apply(signal, shares, self.embedder, sample_rate)
        energy = np.square(stems, dtype=np.float64).sum((1, 2))
        order = np.argsort(-energy, kind="stable")
        total = float(energy.sum())
        share = tuple(float(e / total) if total > 0 else 0.0 for e in energy[order])
        stems = stems[order] if mixture.ndim == 2 else stems[order, 0]
        return Separation(stems, sample_rate, share, clock.seconds)


def _check(mixture: NDArray[np.floating], sample_rate: int, num_sources: int) -> Samples:
    """The mixture as (channels, samples) float32, or an error that says what was expected."""
    if not 1 <= num_sources <= MAX_SOURCES:
        raise ParameterError(f"num_sources is {num_sources}; expected 1 to {MAX_SOURCES}.")
    if sample_rate < 1:
        raise ParameterError(f"sample_rate is {sample_rate}; expected a positive number of Hz.")
    if mixture.ndim not in (1, 2) or not np.issubdtype(mixture.dtype, np.floating):
        raise AudioError(
            f"The mixture has shape {mixture.shape} and type {mixture.dtype}; expected floating-point samples of shape "
            "(samples,) or (channels, samples)."
        )
    if mixture.size == 0:
        raise AudioError("The recording has no samples; expected at least one.")
    if not np.isfinite(mixture).all():
        raise AudioError("The recording has samples that are not finite (NaN or infinity); expected numbers only.")
    return np.atleast_2d(mixture).astype(np.float32)


def _apply(signal: Samples, shares: masks.Masks, embedder: Embedder, sample_rate: int) -> Samples:
    """Mask every channel at the recording's own rate: (channels, samples) -> (sources, channels, samples)."""
    grid = masks.Grid.at_rate(sample_rate, embedder.config)
    spectrum = stft.analyse(signal, grid.window, grid.hop)
    shares = masks.regrid(shares, embedder.config, grid, spectrum.shape[1])
    return stft.synthesise(shares[:, None] * spectrum, signal.shape[-1], grid.window, grid.hop)


class _Clock:
    """Wall time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
