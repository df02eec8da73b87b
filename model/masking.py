"""The second pass over a recording: centroids -> masks -> stems.

Axes: (source, frame, band) for masks, (source, channel, sample) for stems.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from unmingle.model.clustering import background, kmeans
from unmingle.model.diarisation.linking import Talk
from unmingle.model.embedding.embedder import Embedder
from unmingle.model.listening import Listening
from unmingle.model.measured import Measured
from unmingle.model.options import Background, MaskKind
from unmingle.model.overview import Gathering
from unmingle.model.parts import Part, Plan
from unmingle.model.recording import Progress, Recording, Samples, Sink
from unmingle.model.refining.refiner import Refiner
from unmingle.model.results import Outcome
from unmingle.model.signal import features, masks, segments, stft
from unmingle.model.signal.arrangement import Arrangement
from unmingle.model.signal.mixture import Mixture
from unmingle.model.signal.turn_taking import speaking
from unmingle.model.spatial.blocks import Locating, SpatialFilter
from unmingle.model.stage_clock import StageClock

_REACH = 4
"""Windows of the spatial filter in windows of the network: 128 ms, in which most of a room's echo is."""
_LEAST_SHARE = 1e-4
"""Of a bin, below which it is not worth asking how the sources share it."""
_SYNTHESIS_BYTES = 4 * 1024 * 1024
"""About how much the masked spectra of one step of synthesis may take: what stays in the processor's cache."""


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
        return self.measured(sink, progress).outcome(self._plan, self._background)

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
        found = Measured.nothing(recording, sources, self._config, self._clock, self._gathering)
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
        for run in _later(segments.blend(self._masked(found, tell)), early):
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

    def _masked(self, found: Measured, still_wanted: Callable[[], None]) -> Iterator[tuple[int, masks.Masks]]:
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
                soft = embedded.soft_masks(own, self._config.mask_sharpness)
                if plan.talk is not None:
                    soft = masks.taken_in_turn(soft, self._speaking(plan.talk, segment))
                soft = self._arranged(soft)
                if measured:
                    found.clarity.push(soft, heard)
                    found.speech.push(segment.start, embedded)
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

    def _speaking(self, talk: Talk, segment: segments.Segment) -> masks.Masks:
        """(sources, frames) chance that each source speaks; of those that are nobody's voice, nothing is known."""
        frames = len(segment.magnitude)
        seconds = np.arange(segment.start, segment.start + frames, dtype=np.float64)
        seconds *= self._config.hop / self._config.sample_rate
        windows = self._plan.turns.windows(seconds, talk)
        return np.asarray(speaking(windows, talk.count, len(self._plan.centroids), frames), np.float32)

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
