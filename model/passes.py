"""The two passes over a recording: listen (segments -> centroids), then mask (centroids -> stems).

Axes: (source, frame, band) for masks, (source, channel, sample) for stems.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import background, counting, kmeans
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.embedding.embedder import Embedder, embed_each
from unmingle.model.embedding.keeping import Keeping, Keeps
from unmingle.model.options import Background, MaskKind
from unmingle.model.overview import Gathering
from unmingle.model.recording import Recording, Samples
from unmingle.model.refining.refiner import Refiner
from unmingle.model.results import Outcome, StemReport
from unmingle.model.signal import features, masks, segments, stft
from unmingle.model.signal.activity import EnergyTrack
from unmingle.model.signal.arrangement import Arrangement
from unmingle.model.signal.high_pass import HighPass
from unmingle.model.spatial.blocks import Locating, SpatialFilter
from unmingle.model.stage_clock import StageClock

Progress = Callable[[float], None]
"""Called with the part done, 0 to 1, several times a second. What it raises ends the separation."""
Sink = Callable[[Samples], None]
"""Takes the next (sources, channels, samples) of the stems; the background, where it is a stem, is the last."""

_ALL_WITHIN = 0.5
"""Chance that everything, the background included, is no more sources than there are. Above it, all is theirs."""
_FEWER_HEARD = 0.25
"""Chance that fewer sources than are asked for are heard before the background. Above it, it is one of them."""
_MOSTLY_BACKGROUND = 0.5
"""Part of a recording that is not background. With less, noise drowns the voices and sounds like one of two sources."""
_SURELY_FEWER = 0.6
"""In place of _FEWER_HEARD, where most is background."""
_RUMBLE = 0.02
"""Part of a recording's energy that is too low to be heard. With more, masks would let some of it into the stems."""
_REACH = 4
"""Windows of the spatial filter in windows of the network: 128 ms, in which most of a room's echo is."""
_LEAST_SHARE = 1e-4
"""Of a bin, below which it is not worth asking how the sources share it."""
_SYNTHESIS_BYTES = 4 * 1024 * 1024
"""About how much the masked spectra of one step of synthesis may take: what stays in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """What the first pass finds out about a recording, besides the embeddings themselves.

    Attributes:
        sample: of all embeddings.
        foreground_sample: of those that are not background.
        foreground: how much of the recording that is.
        removed: part of the energy that is too low to be heard.
        segments: how many there are.
    """

    sample: kmeans.EmbeddingSample
    foreground_sample: kmeans.EmbeddingSample
    foreground: background.Foreground
    removed: float
    segments: int


def expected_bytes(recording: Recording, config: ModelConfig) -> float:
    """How much the embeddings of a recording will take in float32, about."""
    return 4 * expected_frames(recording, config) * config.bands * config.embedding_dim


def expected_frames(recording: Recording, config: ModelConfig) -> float:
    """How many frames the network will hear of a recording, by the samples that it announces."""
    return recording.samples / recording.sample_rate * config.sample_rate / config.hop


class Listening:
    """The first pass; also gives the second one the embeddings, from memory or anew.

    Attributes:
        segments: how many were listened to so far.
    """

    def __init__(
        self,
        recording: Recording,
        embedder: Embedder,
        layout: segments.SegmentLayout,
        clock: StageClock,
        keeping: Keeps | None = None,
    ) -> None:
        """Args: keeping: where embeddings wait for the second pass; by default in memory, where they have room."""
        self._recording = recording
        self._embedder = embedder
        self._layout = layout
        self._clock = clock
        self._sample = kmeans.EmbeddingSample()
        self._foreground_sample = kmeans.EmbeddingSample()
        self._foreground = background.Foreground()
        self._high_pass = HighPass(embedder.config.sample_rate, recording.channels)
        self._all_expected = False
        self._removed: float | None = None
        self.segments = 0
        self._expected_frames = max(1.0, expected_frames(recording, embedder.config))
        self._keeping: Keeps = keeping or Keeping(expected_bytes(recording, embedder.config))

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
                behind = background.chance(embedded, self._embedder.config)
                if behind is not None:
                    kept = background.foreground(weights, behind)
                    self._foreground.add(weights, kept)
                    self._foreground_sample.add(embedded, kept, rng)
            with self._clock.stage("keep"):
                self._keeping.add(segment, embedded)
            self.segments += 1
            del embedded  # what is not kept shall be gone before there is more
            tell(0)

    @property
    def has_background(self) -> bool:
        """Whether some of the recording is background, beside what is to be separated."""
        known = self._embedder.config.background_sharpness > 0
        return known and self._foreground.exists and not self._all_expected

    @property
    def rumbles(self) -> bool:
        """Whether much of the recording is too low for anybody to hear; known once all was listened to."""
        removed = self._high_pass.removed if self._removed is None else self._removed
        return removed > _RUMBLE

    @property
    def heard(self) -> Heard:
        """What was found out; known once all was listened to."""
        return Heard(self._sample, self._foreground_sample, self._foreground, self._high_pass.removed, self.segments)

    def remember(self, heard: Heard) -> None:
        """Take what an earlier listening to the same recording found out, instead of listening."""
        self._sample, self._foreground_sample = heard.sample, heard.foreground_sample
        self._foreground, self._removed, self.segments = heard.foreground, heard.removed, heard.segments

    def count(self, fewest: int, most: int, rng: np.random.Generator) -> tuple[int, float]:
        """The likeliest number of sources from `fewest` to `most`, and its chance; `fewest` of silence, for certain."""
        chances = self.chances(rng)
        if chances is None:
            return fewest, 1.0
        bounded = chances[fewest - 1 : most]
        # Where the evidence speaks for numbers outside of the bounds only, the nearest one is as good as any.
        total = bounded.sum()
        if total <= 0:
            return (fewest if chances[: fewest - 1].sum() > 0 else fewest + len(bounded) - 1), 1.0
        return fewest + int(bounded.argmax()), float(bounded.max() / total)

    def settle(self, num_sources: int, given: bool) -> None:
        """Decide whether there is a background, now that it is known how many sources there are.

        Where everything together sounds like no more sources than those, nothing is left over: a dog beside a speaker
        is one of two sources. Noise behind two speakers sounds like several more, unless it is so loud that they sound
        like one; then the voices alone have to tell.

        Args:
            num_sources: of those there are.
            given: whether somebody said so; otherwise they were counted without the background.
        """
        if self._foreground.share <= _MOSTLY_BACKGROUND:
            self.take_all(given and self._fewer(num_sources)[-1] > _SURELY_FEWER)
            return
        within = self._within(num_sources, self._sample)
        meant = bool(within) and within[-1] > _ALL_WITHIN
        self.take_all(meant or (given and self._fewer(num_sources)[-1] > _FEWER_HEARD))

    def all_meant(self, most: int) -> tuple[bool, ...]:
        """What `settle` would decide for 1, 2... `most` sources that are given."""
        fewer = self._fewer(most)
        if self._foreground.share <= _MOSTLY_BACKGROUND:
            return tuple(f > _SURELY_FEWER for f in fewer)
        within = self._within(most, self._sample) or (0.0,) * most
        return tuple(w > _ALL_WITHIN or f > _FEWER_HEARD for w, f in zip(within, fewer, strict=True))

    def _fewer(self, most: int) -> tuple[float, ...]:
        """Chance that fewer than 1, 2... `most` sources are heard before the background; 0 if that cannot be told."""
        return (0.0, *(self._within(most - 1, self._foreground_sample) or (0.0,) * (most - 1)))

    def take_all(self, meant: bool) -> None:
        """`settle`, where it is known whether the background is meant."""
        self._all_expected = meant

    def _within(self, most: int, sample: kmeans.EmbeddingSample) -> tuple[float, ...]:
        """Chance of no more than 1, 2... `most` sources in a sample; empty where there is nothing to decide."""
        weights = self._embedder.config.count_weights
        if most < 1 or not self.has_background or not counting.counts_up_to(weights):
            return ()
        if not len(sample):
            return (1.0,) * most
        with self._clock.stage("count"):
            # A generator of its own: what comes after does not depend on how far was asked.
            evidence = counting.Evidence(sample, self._foreground.share, np.random.default_rng(0))
            return counting.chances_within(most, evidence, weights)

    def centroids(self, num_sources: int, rng: np.random.Generator) -> kmeans.Vectors:
        """(sources, dim) centroids of the whole recording."""
        with self._clock.stage("cluster"):
            return kmeans.cluster(*self._heard.all(), num_sources, rng).centroids

    @property
    def _heard(self) -> kmeans.EmbeddingSample:
        return self._foreground_sample if self.has_background else self._sample

    def chances(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """(counts,) chance of 1, 2, 3... sources; None of silence, or where the model cannot count."""
        weights = self._embedder.config.count_weights
        if not len(self._heard) or not counting.counts_up_to(weights):
            return None
        with self._clock.stage("count"):
            evidence = counting.Evidence(self._heard, self._foreground.share, rng)
            return counting.probabilities(evidence, weights)

    def embedded(self, still_wanted: Callable[[], None]) -> Iterator[tuple[segments.Segment, Embedded]]:
        """Every segment with its embeddings, once after `listen` was called; what `still_wanted` raises ends it."""
        if not self._keeping.whole:
            for segment, again in self._embed(lambda _: still_wanted()):
                with self._clock.stage("keep"):
                    # The masks are the same, whether there was room to keep the embeddings or not.
                    rounded = self._keeping.rounded(again)
                yield segment, rounded
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

        self._high_pass = HighPass(config.sample_rate, self._recording.channels)
        heard = telling(segments.heard_magnitude(self._recording, config, self._clock, self._high_pass))
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
        background: Background,
        locating: Locating | None = None,
        arrangement: Arrangement | None = None,
        gathering: Gathering | None = None,
        refiner: Refiner | None = None,
    ) -> None:
        """Args:
        locating: how to use where sounds come from; None uses the masks alone.
        arrangement: which centroids make which sources, and where; by default, each makes one everywhere.
        gathering: is shown every segment, for an overview; only without an arrangement.
        refiner: makes soft masks better; None uses those of the clustering.
        """
        self._refiner = refiner if mask_kind == "soft" else None
        self._gathering = gathering
        self._locating = locating
        self._recording = recording
        self._listening = listening
        self._arrangement = arrangement
        self._config = embedder.config
        self._inaudible = masks.inaudible_bands(embedder.config)
        self._clock = clock
        self._mask_kind = mask_kind
        self._background: Background = background
        self._apart = background != "share"

    def run(self, centroids: kmeans.Vectors, count_chance: float | None, sink: Sink, progress: Progress) -> Outcome:
        """Send the stems to `sink`, in the order of the centroids, and say what they are."""
        grid = masks.Grid.at_rate(self._recording.sample_rate, self._config)
        sources = self._arrangement.sources if self._arrangement else len(centroids)
        rows = sources + self._apart - 1
        shaping: SpatialFilter | _MaskFilter = _MaskFilter(rows)
        if self._locating:
            # A filter reaches as far as its window, and rooms are longer than the network's.
            grid = masks.Grid(grid.sample_rate, _REACH * grid.window, _REACH * grid.hop)
            shaping = SpatialFilter(rows + self._locating.enhance, self._locating)
        regridder = masks.Regridder(self._config, grid)
        synthesiser = stft.Synthesiser(grid.window, grid.hop)
        # What is too low to be heard never enters the stems; the background is what they leave.
        without_rumble = self._apart and self._listening.rumbles
        mixture = _Mixture(self._recording, grid, without_rumble)
        track = EnergyTrack(self._recording.sample_rate, sources)
        clarity = masks.Clarity(sources)
        written = 0

        def shape(blocks: Iterator[stft.Spectrum]) -> None:
            for block in self._clock.around(shaping.stage, blocks):
                for start in range(0, block.shape[2], step):
                    synthesise(block[:, :, start : start + step])

        def synthesise(separated: stft.Spectrum) -> None:
            nonlocal written
            with self._clock.stage("synthesise"):
                others = synthesiser.push(separated)
                whole = mixture.samples(others.shape[-1])
                stems = np.empty((rows + 1, *whole.shape), np.float32)
                stems[: len(others)] = others[..., : whole.shape[-1]]
                if len(others) == rows:
                    # What the others leave, which is what its masks would give.
                    np.subtract(whole, stems[:-1].sum(0), out=stems[-1])
                track.push(stems)
            written += stems.shape[-1]
            if stems.shape[-1]:
                sink(stems[:sources] if self._background == "drop" else stems)
            tell()

        def tell() -> None:
            progress(min(1.0, 0.5 + 0.5 * written / max(1, self._recording.samples)))

        bytes_per_frame = 16 * (sources + self._apart) * self._recording.channels * (grid.window // 2 + 1)
        step = max(1, _SYNTHESIS_BYTES // bytes_per_frame)
        for run in segments.blend(self._masked(centroids, clarity, tell)):
            for start in range(0, run.shape[1], step):
                with self._clock.stage("mask"):
                    shares = regridder.push(run[: shaping.needed, start : start + step])
                with self._clock.stage("stft"):
                    spectrum = mixture.take(shares.shape[1])
                shape(shaping.push(shares[:, : spectrum.shape[1]], spectrum))
        while (spectrum := mixture.take(step)).shape[1]:
            shape(shaping.push(regridder.hold(spectrum.shape[1]), spectrum))
        shape(shaping.finish())
        progress(1.0)
        order, reports = _reports(track, clarity)
        return Outcome(
            order,
            self._background,
            reports,
            count_chance,
            written,
            self._clock.seconds,
            spatial=shaping.report,
            overview=self._gathering.finish(centroids, order) if self._gathering else None,
        )

    def _masked(
        self, centroids: kmeans.Vectors, clarity: masks.Clarity, still_wanted: Callable[[], None]
    ) -> Iterator[tuple[int, masks.Masks]]:
        """First frame and masks of each segment."""
        for segment, embedded in self._listening.embedded(still_wanted):
            behind = background.chance(embedded, self._config) if self._listening.has_background else None
            heard = segment.magnitude if behind is None else segment.magnitude * (1.0 - behind)
            own = centroids
            if self._listening.segments > 1:
                with self._clock.stage("cluster"):
                    weights = features.clustering_weights(segment.magnitude)
                    weights = weights if behind is None else background.foreground(weights, behind)
                    rng = np.random.default_rng(segment.start)
                    own = kmeans.local_centroids(centroids, embedded, weights, rng)
            with self._clock.stage("mask"):
                soft = self._arranged(embedded.soft_masks(own, self._config.mask_sharpness))
                clarity.push(soft, heard)
                if self._gathering:
                    self._gathering.add(segment, embedded, soft, behind)
                shares = soft if self._mask_kind == "soft" else self._arranged(embedded.hard_masks(own))
            if self._refiner:
                shares, behind = self._refined(self._refiner, segment, behind, soft, own)
            with self._clock.stage("mask"):
                if self._apart:
                    shares = masks.with_background(shares, self._behind(soft, behind))
                    if self._arrangement:
                        self._arrangement.confine(shares, segment.start)
            del embedded
            yield segment.start, shares

    def _refined(
        self,
        refiner: Refiner,
        segment: segments.Segment,
        behind: masks.Masks | None,
        soft: masks.Masks,
        centroids: kmeans.Vectors,
    ) -> tuple[masks.Masks, masks.Masks | None]:
        """Masks of the sources, which sum to 1, and of the background."""
        with self._clock.stage("refine"):
            observed = features.log_magnitude(segment.magnitude, self._config.floor_db)
            sources = self._arrangement.grouped_centroids(centroids) if self._arrangement else centroids
            if behind is None:
                return refiner.refine(observed, None, soft, sources), None
            refined = refiner.refine(observed, behind, soft * (1.0 - behind), sources)
            together = refined.sum(0)
            # Where all is background, the sources share what is left as the clustering says.
            shares = np.divide(refined, together, out=soft.copy(), where=together > _LEAST_SHARE)
            return shares, 1.0 - together

    def _arranged(self, shares: masks.Masks) -> masks.Masks:
        return self._arrangement.grouped(shares) if self._arrangement else shares

    def _behind(self, soft: masks.Masks, behind: masks.Masks | None) -> masks.Masks:
        """(frames, bands) mask of the background."""
        if behind is None:
            if self._config.background_sharpness:
                return np.zeros(soft.shape[1:], np.float32)
            # A model that knows no background: what no source claims with confidence.
            return 1.0 - masks.claim(soft)
        if self._mask_kind == "hard":
            behind = np.asarray(behind > 0.5, np.float32)
        behind[:, : self._inaudible] = 1.0
        return behind


def _reports(track: EnergyTrack, clarity: masks.Clarity) -> tuple[tuple[int, ...], tuple[StemReport, ...]]:
    """The order of the stems, loudest first, and a report on each in that order."""
    energy = track.totals()
    order = np.argsort(-energy, kind="stable").tolist()
    total = float(energy.sum())
    stretches, confidence = track.stretches(), clarity.per_source()
    reports = (StemReport(float(energy[i] / total) if total > 0 else 0.0, confidence[i], stretches[i]) for i in order)
    return tuple(order), tuple(reports)


class _MaskFilter:
    """Every channel with the same masks."""

    stage = "synthesise"
    report = None

    def __init__(self, rows: int) -> None:
        """Args: rows: how many of the sources to give, from the first on."""
        self.needed = rows

    def push(self, shares: masks.Masks, spectrum: stft.Spectrum) -> Iterator[stft.Spectrum]:
        """(rows, frames, bins) masks and (channels, frames, bins) -> (rows, channels, frames, bins)."""
        yield shares[:, None] * spectrum

    def finish(self) -> Iterator[stft.Spectrum]:
        """Nothing is left."""
        yield from ()


class _Mixture:
    """The recording itself, as it is asked for: frames of its spectrum, and samples once their frames were taken."""

    def __init__(self, recording: Recording, grid: masks.Grid, without_rumble: bool) -> None:
        """Args: without_rumble: whether the spectrum, not the samples, is that of what can be heard only."""
        self._high_pass = HighPass(recording.sample_rate, recording.channels) if without_rumble else None
        self._blocks = recording.blocks()
        self._hop = grid.hop
        self._analyser = stft.Analyser(grid.window, grid.hop)
        self._nothing = np.zeros((recording.channels, 0), np.float32)
        self._block = self._nothing
        self._heard: list[Samples] = []
        self._spectra: list[stft.Spectrum] = []
        self._ended = False

    def take(self, frames: int) -> stft.Spectrum:
        """(channels, frames, bins): the next `frames` frames, fewer only at the end."""
        while not self._ended and sum(part.shape[1] for part in self._spectra) < frames:
            piece = self._next(frames * self._hop)
            self._heard.append(piece)
            self._ended = piece.shape[-1] < frames * self._hop
            self._spectra.append(self._analyser.push(self._high_pass.push(piece) if self._high_pass else piece))
            if self._ended:
                if self._high_pass:
                    self._spectra.append(self._analyser.push(self._high_pass.finish()))
                self._spectra.append(self._analyser.finish())
        waiting = self._spectra[0] if len(self._spectra) == 1 else np.concatenate(self._spectra, axis=1)
        self._spectra = [waiting[:, frames:]]
        return waiting[:, :frames]

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
