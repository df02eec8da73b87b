"""The path from mixture to stems. It composes the other rooms of this package and holds no maths of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model import clustering, features, masks, segments, stft
from model.embedder import BUNDLED_MODEL, Device, Embedder, OnnxEmbedder
from model.errors import ParameterError
from model.recording import ArrayRecording, Recording, Samples

MaskKind = Literal["soft", "hard"]
Progress = Callable[[float], None]
"""Called with the part done, 0 to 1. What it raises ends the separation."""
Sink = Callable[[Samples], None]
"""Takes the next (sources, channels, samples) of the stems."""

MAX_SOURCES = 8
SAMPLE_RATES_HZ = (4_000, 192_000)

_SEGMENTS_AT_ONCE = 4
_KEPT_EMBEDDINGS = 64 * 1024 * 1024
"""Bytes of embeddings that are kept from listening to masking; longer recordings are embedded twice instead."""
_SYNTHESIS_BYTES = 64 * 1024 * 1024
"""About how much the masked spectra of one step of synthesis may take."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a separation besides its stems, which went to a sink in the order of their centroids.

    Attributes:
        order: index of the loudest stem, of the next one...
        energy_share: per stem in that order, its part of the summed energy of the stems; all 0 for silence.
        samples: length of every stem.
        stage_seconds: wall time by stage.
    """

    order: tuple[int, ...]
    energy_share: tuple[float, ...]
    samples: int
    stage_seconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Separation:
    """What came of a recording in memory.

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

    def __init__(self, embedder: Embedder, layout: segments.SegmentLayout | None = None) -> None:
        self.embedder = embedder
        self.layout = layout or segments.SegmentLayout()

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
        progress: Progress | None = None,
    ) -> Separation:
        """Separate a recording in memory into `num_sources` stems.

        Args:
            mixture: (samples,) or (channels, samples), floating point.
            sample_rate: Hz, 4000 to 192000.
            num_sources: 1 to 8.
            seed: decides the starts of the clustering; the same seed gives the same stems.
            mask_kind: "soft" masks sound better, "hard" ones are the paper's.
            progress: told the part that is done.

        Raises:
            AudioError: no samples, samples that are not finite, or a shape that is not audio.
            ParameterError: `num_sources` or `sample_rate` is out of range.
        """
        recording = ArrayRecording(mixture, sample_rate)
        parts: list[Samples] = []
        outcome = self.separate_recording(
            recording, parts.append, num_sources, seed=seed, mask_kind=mask_kind, progress=progress
        )
        stems = np.concatenate(parts, axis=-1)[list(outcome.order)]
        return Separation(
            stems if mixture.ndim == 2 else stems[:, 0], sample_rate, outcome.energy_share, outcome.stage_seconds
        )

    def separate_recording(
        self,
        recording: Recording,
        sink: Sink,
        num_sources: int = 2,
        *,
        seed: int = 0,
        mask_kind: MaskKind = "soft",
        progress: Progress | None = None,
    ) -> Outcome:
        """Separate a recording of any length; the stems go to `sink` piece by piece. Memory does not grow with length.

        The recording is read twice: first to listen (embed its segments and cluster a sample of all of them, so that
        a source is the same stem from beginning to end), then to mask.

        Raises:
            ParameterError: `num_sources` or the sample rate is out of range.
        """
        _check(recording, num_sources)
        path = _Path(self, recording, num_sources, mask_kind, progress or _ignore)
        centroids = path.listen(np.random.default_rng(seed))
        return path.mask(centroids, sink)


class _Path:
    """One recording on its way through."""

    def __init__(
        self, separator: Separator, recording: Recording, num_sources: int, mask_kind: MaskKind, progress: Progress
    ) -> None:
        self._embedder = separator.embedder
        self._config = separator.embedder.config
        self._layout = separator.layout
        self._recording = recording
        self._num_sources = num_sources
        self._mask_kind = mask_kind
        self._progress = progress
        self._clock = _Clock()
        self._kept: list[tuple[int, NDArray[np.float16]]] | None = []
        frames = stft.frame_count(recording.samples, self._config.window, self._config.hop)
        self._expected_frames = max(1.0, frames * self._config.sample_rate / recording.sample_rate)

    def listen(self, rng: np.random.Generator) -> clustering.Vectors:
        """(sources, dim) centroids of the whole recording."""
        sample = clustering.EmbeddingSample()
        for segment, embeddings in self._embedded():
            with self._clock.stage("cluster"):
                weights = features.clustering_weights(segment.magnitude)
                sample.add(embeddings.reshape(-1, embeddings.shape[-1]), weights.ravel(), rng)
            self._keep(segment.start, embeddings)
            self._progress(min(0.5, 0.5 * segment.start / self._expected_frames))
        with self._clock.stage("cluster"):
            return clustering.cluster(*sample.all(), self._num_sources, rng).centroids

    def mask(self, centroids: clustering.Vectors, sink: Sink) -> Outcome:
        """Apply the masks that the centroids give, at the recording's own rate and to each of its channels."""
        grid = masks.Grid.at_rate(self._recording.sample_rate, self._config)
        regridder = masks.Regridder(self._config, grid)
        synthesiser = stft.Synthesiser(grid.window, grid.hop)
        mixture = _MixtureSpectrum(self._recording, grid)
        energy = np.zeros(self._num_sources)
        written = 0
        step = max(1, _SYNTHESIS_BYTES // (16 * self._num_sources * self._recording.channels * (grid.window // 2 + 1)))

        def synthesise(shares: masks.Masks, spectrum: stft.Spectrum) -> None:
            nonlocal written
            with self._clock.stage("synthesise"):
                stems = synthesiser.push(shares[:, None] * spectrum)
                stems = stems[..., : mixture.samples - written]
                energy[:] += np.square(stems, dtype=np.float64).sum((1, 2))
            written += stems.shape[-1]
            if stems.shape[-1]:
                sink(stems)

        for run in segments.blend(self._masked(centroids)):
            for start in range(0, run.shape[1], step):
                with self._clock.stage("mask"):
                    shares = regridder.push(run[:, start : start + step])
                with self._clock.stage("stft"):
                    spectrum = mixture.take(shares.shape[1])
                synthesise(shares[:, : spectrum.shape[1]], spectrum)
            self._progress(min(1.0, 0.5 + 0.5 * written / max(1, self._recording.samples)))
        while (spectrum := mixture.take(step)).shape[1]:
            synthesise(regridder.hold(spectrum.shape[1]), spectrum)
        self._progress(1.0)
        order = np.argsort(-energy, kind="stable")
        total = float(energy.sum())
        share = tuple(float(e / total) if total > 0 else 0.0 for e in energy[order])
        return Outcome(tuple(order.tolist()), share, written, self._clock.seconds)

    def _embedded(self) -> Iterator[tuple[segments.Segment, clustering.Vectors]]:
        """Segments with their (frames, bands, dim) embeddings."""
        heard = self._clock.around("listen", segments.heard_magnitude(self._recording, self._config))
        for batch in segments.batches(segments.cut(heard, self._layout), _SEGMENTS_AT_ONCE):
            with self._clock.stage("embed"):
                observed = [features.log_magnitude(s.magnitude, self._config.floor_db) for s in batch]
                embeddings = self._embedder.embed(np.stack(observed))
            yield from zip(batch, embeddings, strict=True)

    def _keep(self, start: int, embeddings: clustering.Vectors) -> None:
        if self._kept is None:
            return
        self._kept.append((start, embeddings.astype(np.float16)))
        if sum(kept.nbytes for _, kept in self._kept) > _KEPT_EMBEDDINGS:
            self._kept = None

    def _masked(self, centroids: clustering.Vectors) -> Iterator[tuple[int, masks.Masks]]:
        """Start and (sources, frames, bands) masks of each segment."""
        if self._kept is not None:
            embedded = ((start, kept.astype(np.float32)) for start, kept in self._kept)
        else:
            embedded = ((segment.start, embeddings) for segment, embeddings in self._embedded())
        for start, embeddings in embedded:
            with self._clock.stage("mask"):
                if self._mask_kind == "soft":
                    shares = masks.soft_masks(embeddings, centroids, self._config.mask_sharpness)
                else:
                    shares = masks.hard_masks(embeddings, centroids)
            yield start, shares


class _MixtureSpectrum:
    """The recording's own spectrum, frame by frame as it is asked for."""

    def __init__(self, recording: Recording, grid: masks.Grid) -> None:
        self._blocks = recording.blocks()
        self._analyser = stft.Analyser(grid.window, grid.hop)
        self._ready = np.zeros((recording.channels, 0, grid.window // 2 + 1), np.complex64)
        self._ended = False
        self.samples = 0

    def take(self, frames: int) -> stft.Spectrum:
        """(channels, frames, bins): the next `frames` frames, fewer only at the end."""
        while self._ready.shape[1] < frames and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
                more = self._analyser.finish()
            else:
                self.samples += block.shape[-1]
                more = self._analyser.push(block)
            self._ready = np.concatenate((self._ready, more), axis=1)
        taken, self._ready = self._ready[:, :frames], self._ready[:, frames:]
        return taken


class _Clock:
    """Wall time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def around(self, name: str, items: Iterator[segments.Magnitude]) -> Iterator[segments.Magnitude]:
        """The same items; the time to make each counts for the stage."""
        while True:
            with self.stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def _check(recording: Recording, num_sources: int) -> None:
    if not 1 <= num_sources <= MAX_SOURCES:
        raise ParameterError(f"num_sources is {num_sources}; expected 1 to {MAX_SOURCES}.")
    low, high = SAMPLE_RATES_HZ
    if not low <= recording.sample_rate <= high:
        raise ParameterError(f"The sample rate is {recording.sample_rate} Hz; expected {low} to {high} Hz.")


def _ignore(_done: float) -> None:
    """For callers that do not want to know."""
