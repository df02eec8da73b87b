"""The two passes over a recording: listen (segments -> centroids), then mask (centroids -> stems).

Axes: (source, frame, band) for masks, (source, channel, sample) for stems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from unmingle.model.clustering import counting, kmeans
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.embedding.embedder import Embedder, embed_each
from unmingle.model.embedding.keeping import Keeping
from unmingle.model.recording import Recording, Samples
from unmingle.model.results import Outcome, StemReport
from unmingle.model.signal import features, masks, segments, stft
from unmingle.model.signal.activity import EnergyTrack
from unmingle.model.stage_clock import StageClock

MaskKind = Literal["soft", "hard"]
Progress = Callable[[float], None]
"""Called with the part done, 0 to 1, several times a second. What it raises ends the separation."""
Sink = Callable[[Samples], None]
"""Takes the next (sources, channels, samples) of the stems; the residual, where asked for, is the last source."""

_SYNTHESIS_BYTES = 4 * 1024 * 1024
"""About how much the masked spectra of one step of synthesis may take: what stays in the processor's cache."""


class Listening:
    """The first pass; also gives the second one the embeddings, from memory or anew.

    Attributes:
        segments: how many were listened to so far.
    """

    def __init__(
        self, recording: Recording, embedder: Embedder, layout: segments.SegmentLayout, clock: StageClock
    ) -> None:
        self._recording = recording
        self._embedder = embedder
        self._layout = layout
        self._clock = clock
        self._sample = kmeans.EmbeddingSample()
        self.segments = 0
        config = embedder.config
        frames = recording.samples / recording.sample_rate * config.sample_rate / config.hop
        self._expected_frames = max(1.0, frames)
        self._keeping = Keeping(4 * frames * config.bands * config.embedding_dim)

    def listen(self, rng: np.random.Generator, progress: Progress) -> None:
        """Embed all segments and gather a bounded sample of their embeddings."""
        frames = 0

        def tell(more: int) -> None:
            nonlocal frames
            frames += more
            progress(min(0.5, 0.5 * frames / self._expected_frames))

        for segment, embedded in self._embed(tell):
            with self._clock.stage("cluster"):
                weights = features.clustering_weights(segment.magnitude)
                self._sample.add(embedded, weights, rng)
            with self._clock.stage("keep"):
                self._keeping.add(segment, embedded)
            self.segments += 1
            del embedded  # what is not kept shall be gone before there is more
            tell(0)

    def count(self, fewest: int, most: int, rng: np.random.Generator) -> tuple[int, float]:
        """The likeliest number of sources from `fewest` to `most`, and its chance; `fewest` of silence, for certain."""
        if not len(self._sample):
            return fewest, 1.0
        with self._clock.stage("count"):
            observed = counting.evidence(self._sample, rng)
            chances = counting.probabilities(observed, self._embedder.config.count_weights)[fewest - 1 : most]
        return fewest + int(chances.argmax()), float(chances.max() / chances.sum())

    def centroids(self, num_sources: int, rng: np.random.Generator) -> kmeans.Vectors:
        """(sources, dim) centroids of the whole recording."""
        with self._clock.stage("cluster"):
            return kmeans.cluster(*self._sample.all(), num_sources, rng).centroids

    def embedded(self, still_wanted: Callable[[], None]) -> Iterator[tuple[segments.Segment, Embedded]]:
        """Every segment with its embeddings, once after `listen` was called; what `still_wanted` raises ends it."""
        if not self._keeping.whole:
            yield from self._embed(lambda _: still_wanted())
            return
        for segment, kept in self._keeping.taken():
            with self._clock.stage("keep"):
                embedded = kept.restored()
            yield segment, embedded

    def _embed(self, heard_more: Callable[[int], None]) -> Iterator[tuple[segments.Segment, Embedded]]:
        config = self._embedder.config

        def telling(pieces: Iterator[segments.Magnitude]) -> Iterator[segments.Magnitude]:
            for piece in pieces:
                heard_more(len(piece))
                yield piece

        heard = telling(segments.heard_magnitude(self._recording, config, self._clock))
        for batch in segments.batches(segments.cut(heard, self._layout), self._embedder.segments_at_once):
            with self._clock.stage("listen"):
                observed = [features.log_magnitude(s.magnitude, config.floor_db) for s in batch]
            with self._clock.stage("embed"):
                embedded = embed_each(self._embedder, np.stack(observed))
            yield from zip(batch, embedded, strict=True)
            del embedded


class Masking:
    """The second pass: every channel is masked with the same masks, at the recording's own rate."""

    def __init__(
        self,
        recording: Recording,
        listening: Listening,
        embedder: Embedder,
        clock: StageClock,
        mask_kind: MaskKind,
        residual: bool,
    ) -> None:
        self._recording = recording
        self._listening = listening
        self._config = embedder.config
        self._clock = clock
        self._mask_kind = mask_kind
        self._residual = residual

    def run(self, centroids: kmeans.Vectors, count_chance: float | None, sink: Sink, progress: Progress) -> Outcome:
        """Send the stems to `sink`, in the order of the centroids, and say what they are."""
        grid = masks.Grid.at_rate(self._recording.sample_rate, self._config)
        regridder = masks.Regridder(self._config, grid)
        synthesiser = stft.Synthesiser(grid.window, grid.hop)
        mixture = _Mixture(self._recording, grid)
        sources = len(centroids)
        track = EnergyTrack(self._recording.sample_rate)
        clarity = masks.Clarity(sources)
        written = 0

        def synthesise(shares: masks.Masks, spectrum: stft.Spectrum) -> None:
            nonlocal written
            with self._clock.stage("synthesise"):
                others = synthesiser.push(shares[:, None] * spectrum)
                whole = mixture.samples(others.shape[-1])
                stems = np.empty((len(others) + 1, *whole.shape), np.float32)
                stems[:-1] = others[..., : whole.shape[-1]]
                # What the others leave, which is what its masks would give.
                np.subtract(whole, stems[:-1].sum(0), out=stems[-1])
                track.push(stems[:sources])
            written += stems.shape[-1]
            if stems.shape[-1]:
                sink(stems)
            tell()

        def tell() -> None:
            progress(min(1.0, 0.5 + 0.5 * written / max(1, self._recording.samples)))

        bytes_per_frame = 16 * (sources + self._residual) * self._recording.channels * (grid.window // 2 + 1)
        step = max(1, _SYNTHESIS_BYTES // bytes_per_frame)
        for run in segments.blend(self._masked(centroids, clarity, tell)):
            for start in range(0, run.shape[1], step):
                with self._clock.stage("mask"):
                    shares = regridder.push(run[:-1, start : start + step])
                with self._clock.stage("stft"):
                    spectrum = mixture.take(shares.shape[1])
                synthesise(shares[:, : spectrum.shape[1]], spectrum)
        while (spectrum := mixture.take(step)).shape[1]:
            synthesise(regridder.hold(spectrum.shape[1]), spectrum)
        progress(1.0)
        energy = track.totals(sources)
        order = np.argsort(-energy, kind="stable").tolist()
        total = float(energy.sum())
        stretches, confidence = track.stretches(), clarity.per_source()
        reports = tuple(
            StemReport(float(energy[i] / total) if total > 0 else 0.0, confidence[i], stretches[i]) for i in order
        )
        return Outcome(tuple(order), reports, count_chance, written, self._clock.seconds)

    def _masked(
        self, centroids: kmeans.Vectors, clarity: masks.Clarity, still_wanted: Callable[[], None]
    ) -> Iterator[tuple[int, masks.Masks]]:
        """First frame and masks of each segment."""
        for segment, embedded in self._listening.embedded(still_wanted):
            own = centroids
            if self._listening.segments > 1:
                with self._clock.stage("cluster"):
                    weights = features.clustering_weights(segment.magnitude)
                    rng = np.random.default_rng(segment.start)
                    own = kmeans.local_centroids(centroids, embedded, weights, rng)
            with self._clock.stage("mask"):
                soft = embedded.soft_masks(own, self._config.mask_sharpness)
                clarity.push(soft, segment.magnitude)
                shares = soft if self._mask_kind == "soft" else embedded.hard_masks(own)
                if self._residual:
                    shares = masks.with_residual(shares, masks.claim(soft))
            del embedded
            yield segment.start, shares


class _Mixture:
    """The recording itself, as it is asked for: frames of its spectrum, and samples once their frames were taken."""

    def __init__(self, recording: Recording, grid: masks.Grid) -> None:
        self._blocks = recording.blocks()
        self._hop = grid.hop
        self._analyser = stft.Analyser(grid.window, grid.hop)
        self._nothing = np.zeros((recording.channels, 0), np.float32)
        self._block = self._nothing
        self._heard: list[Samples] = []
        self._rest: stft.Spectrum | None = None

    def take(self, frames: int) -> stft.Spectrum:
        """(channels, frames, bins): the next `frames` frames, fewer only at the end."""
        found = []
        if self._rest is None:
            piece = self._next(frames * self._hop)
            self._heard.append(piece)
            found.append(self._analyser.push(piece))
            if piece.shape[-1] < frames * self._hop:
                self._rest = self._analyser.finish()
        if self._rest is not None:
            missing = frames - sum(part.shape[1] for part in found)
            found.append(self._rest[:, :missing])
            self._rest = self._rest[:, missing:]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def samples(self, count: int) -> Samples:
        """(channels, samples): the next `count` samples, fewer only at the end."""
        waiting = np.concatenate(self._heard, axis=-1) if self._heard else self._nothing
        self._heard = [waiting[:, count:]]
        return waiting[:, :count]

    def _next(self, count: int) -> Samples:
        """(channels, samples) of the recording, fewer than `count` only at its end."""
        parts = []
        while count:
            if not self._block.shape[-1]:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._block = block
            part, self._block = self._block[:, :count], self._block[:, count:]
            parts.append(part)
            count -= part.shape[-1]
        return np.concatenate(parts, axis=-1) if parts else self._nothing
