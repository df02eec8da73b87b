"""The two passes over a recording: listen (segments -> centroids), then mask (centroids -> stems).

Axes: (source, frame, band) for masks, (source, channel, sample) for stems.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import background, counting, kmeans
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.embedding.embedder import Embedder, embed_each
from unmingle.model.embedding.keeping import Keeping, Keeps
from unmingle.model.heard import Heard
from unmingle.model.measured import Measured
from unmingle.model.options import Background, MaskKind
from unmingle.model.overview import Gathering
from unmingle.model.parts import Part, Plan
from unmingle.model.recording import Recording, Samples, seekable
from unmingle.model.refining.refiner import Refiner
from unmingle.model.results import Outcome
from unmingle.model.signal import features, masks, segments, stft
from unmingle.model.signal.arrangement import Arrangement
from unmingle.model.signal.high_pass import HighPass
from unmingle.model.signal.mixture import Mixture
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


def expected_bytes(recording: Recording, config: ModelConfig) -> float:
    """How much the embeddings of a recording will take in float32, about."""
    return 4 * expected_frames(recording, config) * config.bands * config.embedding_dim


def expected_frames(recording: Recording, config: ModelConfig) -> float:
    """How many frames the network will hear of a recording, by the samples that it announces."""
    return recording.samples / recording.sample_rate * config.sample_rate / config.hop


class Listening:
    """The first pass; also gives the second one the embeddings, from memory or anew.

    Attributes:
        heard: what was found out so far.
    """

    def __init__(
        self,
        recording: Recording,
        embedder: Embedder,
        layout: segments.SegmentLayout,
        clock: StageClock,
        keeping: Keeps | None = None,
        wanted: segments.SegmentRange | None = None,
    ) -> None:
        """Args:
        keeping: where embeddings wait for the second pass; by default in memory, where they have room.
        wanted: the segments to listen to, of a `Seekable` recording at the model's rate; None is all.
        """
        self._recording = recording
        self._embedder = embedder
        self._layout = layout
        self._clock = clock
        self._wanted = wanted
        self.heard = Heard.nothing(np.random.default_rng())
        self._all_expected = False
        frames = wanted.frames if wanted else expected_frames(recording, embedder.config)
        self._expected_frames = max(1.0, frames)
        self._keeping: Keeps = keeping or Keeping(expected_bytes(recording, embedder.config))

    def listen(self, seed: int, progress: Progress) -> None:
        """Embed all segments and gather a bounded sample of their embeddings; `seed` decides which."""
        first = self._wanted.first if self._wanted else 0
        heard = self.heard = Heard.nothing(np.random.default_rng(seed), first)
        frames = 0

        def tell(more: int) -> None:
            nonlocal frames
            frames += more
            progress(min(0.5, 0.5 * frames / self._expected_frames))

        high_pass = self._high_pass()
        heard.energy = high_pass.energy
        for segment, embedded in self._embed(high_pass, tell):
            number = first + heard.segments
            # What is drawn in a segment does not depend on what was drawn before, so it can be done anywhere.
            rng = _generator(seed, number) if number else heard.rng
            with self._clock.stage("cluster"):
                weights = features.clustering_weights(segment.magnitude)
                heard.sample.add(embedded, weights, rng)
                behind = background.chance(embedded, self._embedder.config)
                if behind is not None:
                    kept = background.foreground(weights, behind)
                    heard.foreground.add(weights, kept)
                    heard.foreground_sample.add(embedded, kept, rng)
            with self._clock.stage("keep"):
                self._keeping.add(segment, embedded)
            heard.segments += 1
            del embedded  # what is not kept shall be gone before there is more
            tell(0)

    def remember(self, heard: Heard) -> None:
        """Take what an earlier listening to the same recording found out, instead of listening."""
        self.heard = heard

    def plan(self, centroids: kmeans.Vectors, count_chance: float | None) -> Plan:
        """What the second pass is to do, once all was listened to and `settle` or `take_all` called."""
        rumbles = self.heard.energy.removed > _RUMBLE
        return Plan(centroids, count_chance, self.has_background, rumbles, self.heard.segments)

    @property
    def has_background(self) -> bool:
        """Whether some of the recording is background, beside what is to be separated."""
        known = self._embedder.config.background_sharpness > 0
        return known and self.heard.foreground.exists and not self._all_expected

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
        if self.heard.foreground.share <= _MOSTLY_BACKGROUND:
            self.take_all(given and self._fewer(num_sources)[-1] > _SURELY_FEWER)
            return
        within = self._within(num_sources, self.heard.sample)
        meant = bool(within) and within[-1] > _ALL_WITHIN
        self.take_all(meant or (given and self._fewer(num_sources)[-1] > _FEWER_HEARD))

    def all_meant(self, most: int) -> tuple[bool, ...]:
        """What `settle` would decide for 1, 2... `most` sources that are given."""
        fewer = self._fewer(most)
        if self.heard.foreground.share <= _MOSTLY_BACKGROUND:
            return tuple(f > _SURELY_FEWER for f in fewer)
        within = self._within(most, self.heard.sample) or (0.0,) * most
        return tuple(w > _ALL_WITHIN or f > _FEWER_HEARD for w, f in zip(within, fewer, strict=True))

    def _fewer(self, most: int) -> tuple[float, ...]:
        """Chance that fewer than 1, 2... `most` sources are heard before the background; 0 if that cannot be told."""
        return (0.0, *(self._within(most - 1, self.heard.foreground_sample) or (0.0,) * (most - 1)))

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
            evidence = counting.Evidence(sample, self.heard.foreground.share, np.random.default_rng(0))
            return counting.chances_within(most, evidence, weights)

    def centroids(self, num_sources: int, rng: np.random.Generator) -> kmeans.Vectors:
        """(sources, dim) centroids of the whole recording."""
        with self._clock.stage("cluster"):
            return kmeans.cluster(*self._clustered.all(), num_sources, rng).centroids

    @property
    def _clustered(self) -> kmeans.EmbeddingSample:
        return self.heard.foreground_sample if self.has_background else self.heard.sample

    def chances(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """(counts,) chance of 1, 2, 3... sources; None of silence, or where the model cannot count."""
        weights = self._embedder.config.count_weights
        if not len(self._clustered) or not counting.counts_up_to(weights):
            return None
        with self._clock.stage("count"):
            evidence = counting.Evidence(self._clustered, self.heard.foreground.share, rng)
            return counting.probabilities(evidence, weights)

    def embedded(self, still_wanted: Callable[[], None]) -> Iterator[tuple[segments.Segment, Embedded]]:
        """Every segment with its embeddings, once after `listen` was called; what `still_wanted` raises ends it."""
        if not self._keeping.whole:
            for segment, again in self._embed(self._high_pass(), lambda _: still_wanted()):
                with self._clock.stage("keep"):
                    # The masks are the same, whether there was room to keep the embeddings or not.
                    rounded = self._keeping.rounded(again)
                yield segment, rounded
            return
        for segment, kept in self._keeping.taken():
            with self._clock.stage("keep"):
                embedded = kept.restored()
            yield segment, embedded

    def _high_pass(self) -> HighPass:
        config = self._embedder.config
        first = segments.first_sample_of(self._wanted.start, config) if self._wanted else 0
        return HighPass(config.sample_rate, self._recording.channels, first)

    def _embed(
        self, high_pass: HighPass, heard_more: Callable[[int], None]
    ) -> Iterator[tuple[segments.Segment, Embedded]]:
        config = self._embedder.config

        def pieces() -> Iterator[segments.Magnitude]:
            for piece in self._magnitude(high_pass):
                heard_more(len(piece))
                yield piece

        found = segments.taken(pieces(), self._wanted) if self._wanted else segments.cut(pieces(), self._layout)
        for batch in segments.batches(found, self._embedder.segments_at_once):
            with self._clock.stage("listen"):
                observed = [features.log_magnitude(s.magnitude, config.floor_db) for s in batch]
            with self._clock.stage("embed"):
                embedded = embed_each(self._embedder, np.stack(observed))
            yield from zip(batch, embedded, strict=True)
            del embedded

    def _magnitude(self, high_pass: HighPass) -> Iterator[segments.Magnitude]:
        config, recording, clock = self._embedder.config, self._recording, self._clock
        if self._wanted is None:
            return segments.heard_magnitude(recording, config, clock, high_pass)
        return segments.heard_magnitude_from(self._wanted.start, seekable(recording), config, clock, high_pass)


def _generator(seed: int, segment: int) -> np.random.Generator:
    """That of one segment: independent of those of others, and of that of the seed itself."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(segment,)))


class Masking:
    """The second pass: every channel is masked with the same masks, at the recording's own rate."""

    def __init__(
        self,
        recording: Recording,
        listening: Listening,
        plan: Plan,
        embedder: Embedder,
        clock: StageClock,
        mask_kind: MaskKind,
        background: Background,
        locating: Locating | None = None,
        arrangement: Arrangement | None = None,
        gathering: Gathering | None = None,
        refiner: Refiner | None = None,
        part: Part | None = None,
    ) -> None:
        """Args:
        recording: `Seekable`, where only a part is wanted.
        listening: gives the embeddings of all segments, or of those that the part needs.
        plan: what is to be done.
        locating: how to use where sounds come from; None uses the masks alone.
        arrangement: which centroids make which sources, and where; by default, each makes one everywhere.
        gathering: is shown every segment, for an overview; only without an arrangement.
        refiner: makes soft masks better; None uses those of the clustering.
        part: what is wanted, without `locating`; None is all.
        """
        self._plan, self._part = plan, part
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

    def run(self, sink: Sink, progress: Progress) -> Outcome:
        """Send the stems to `sink`, in the order of the centroids, and say what they are."""
        return self.measured(sink, progress).outcome(self._plan.centroids, self._plan.count_chance, self._background)

    def measured(self, sink: Sink, progress: Progress) -> Measured:
        """Send the stems, or the part of them that is wanted, to `sink`, and say what was measured on them."""
        recording, plan, part = self._recording, self._plan, self._part
        grid = masks.Grid.at_rate(recording.sample_rate, self._config)
        sources = self._arrangement.sources if self._arrangement else len(plan.centroids)
        rows = sources + self._apart - 1
        shaping: SpatialFilter | _MaskFilter = _MaskFilter(rows)
        if self._locating:
            # A filter reaches as far as its window, and rooms are longer than the network's.
            grid = masks.Grid(grid.sample_rate, _REACH * grid.window, _REACH * grid.hop)
            shaping = SpatialFilter(rows + self._locating.enhance, self._locating)
        first_frame = part.start // grid.hop if part else 0
        stretch = _Stretch(part.start - first_frame * grid.hop, part.end - part.start) if part else _Stretch()
        regridder = masks.Regridder(self._config, grid, first_frame)
        synthesiser = stft.Synthesiser(grid.window, grid.hop)
        # What is too low to be heard never enters the stems; the background is what they leave.
        without_rumble = self._apart and plan.rumbles
        mixture = Mixture(recording, grid, without_rumble, first_frame)
        found = Measured.nothing(recording, sources, self._clock, self._gathering)
        expected = part.end - part.start if part else recording.samples

        def shape(blocks: Iterator[stft.Spectrum]) -> None:
            for block in self._clock.around(shaping.stage, blocks):
                for start in range(0, block.shape[2], step):
                    synthesise(block[:, :, start : start + step])

        def synthesise(separated: stft.Spectrum) -> None:
            with self._clock.stage("synthesise"):
                others = synthesiser.push(separated)
                whole = mixture.samples(others.shape[-1])
                stems = np.empty((rows + 1, *whole.shape), np.float32)
                stems[: len(others)] = others[..., : whole.shape[-1]]
                if len(others) == rows:
                    # What the others leave, which is what its masks would give.
                    np.subtract(whole, stems[:-1].sum(0), out=stems[-1])
                stems = stretch.of(stems)
                found.track.push(stems)
            found.samples += stems.shape[-1]
            if stems.shape[-1]:
                sink(stems[:sources] if self._background == "drop" else stems)
            tell()

        def tell() -> None:
            progress(min(1.0, 0.5 + 0.5 * found.samples / max(1, expected)))

        bytes_per_frame = 16 * (sources + self._apart) * recording.channels * (grid.window // 2 + 1)
        step = max(1, _SYNTHESIS_BYTES // bytes_per_frame)
        early = regridder.reads_from - part.masked.start if part else 0
        for run in _later(segments.blend(self._masked(found.clarity, tell)), early):
            for start in range(0, 0 if stretch.is_over else run.shape[1], step):
                with self._clock.stage("mask"):
                    shares = regridder.push(run[: shaping.needed, start : start + step])
                with self._clock.stage("stft"):
                    spectrum = mixture.take(shares.shape[1])
                shape(shaping.push(shares[:, : spectrum.shape[1]], spectrum))
        while not stretch.is_over and (spectrum := mixture.take(step)).shape[1]:
            shape(shaping.push(regridder.hold(spectrum.shape[1]), spectrum))
        shape(shaping.finish())
        progress(1.0)
        return dataclasses.replace(found, spatial=shaping.report)

    def _masked(self, clarity: masks.Clarity, still_wanted: Callable[[], None]) -> Iterator[tuple[int, masks.Masks]]:
        """First frame and masks of each segment."""
        plan, part = self._plan, self._part
        for segment, embedded in self._listening.embedded(still_wanted):
            # Of a segment that is another part's, only the masks are needed.
            measured = part is None or segment.start >= part.listened.start
            behind = background.chance(embedded, self._config) if plan.has_background else None
            heard = segment.magnitude if behind is None else segment.magnitude * (1.0 - behind)
            own = plan.centroids
            if plan.segments > 1:
                with self._clock.stage("cluster"):
                    weights = features.clustering_weights(segment.magnitude)
                    weights = weights if behind is None else background.foreground(weights, behind)
                    rng = np.random.default_rng(segment.start)
                    own = kmeans.local_centroids(plan.centroids, embedded, weights, rng)
            with self._clock.stage("mask"):
                soft = self._arranged(embedded.soft_masks(own, self._config.mask_sharpness))
                if measured:
                    clarity.push(soft, heard)
                if self._gathering and measured:
                    self._gathering.add(segment, embedded, soft, behind)
                elif self._gathering:
                    self._gathering.skip(segment)
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


def _later(runs: Iterator[masks.Masks], frames: int) -> Iterator[masks.Masks]:
    """Without the first so many frames."""
    for run in runs:
        yield run[:, frames:]
        frames = max(0, frames - run.shape[1])


class _Stretch:
    """The samples of stems that are wanted; of those that are made, some come before, and some after."""

    def __init__(self, early: int = 0, wanted: float = math.inf) -> None:
        self._early, self._wanted = early, wanted

    @property
    def is_over(self) -> bool:
        """Whether all were given."""
        return self._wanted <= 0

    def of(self, stems: Samples) -> Samples:
        """Of the next (sources, channels, samples), those that are wanted."""
        found = stems[..., self._early :]
        self._early = max(0, self._early - stems.shape[-1])
        if found.shape[-1] > self._wanted:
            found = found[..., : int(self._wanted)]
        self._wanted -= found.shape[-1]
        return found


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
