"""The first pass over a recording: what is heard, how many sources there are, and where their embeddings lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import background, counting, kmeans
from unmingle.model.config import ModelConfig
from unmingle.model.diarisation.config import Diariser
from unmingle.model.diarisation.linking import Talk, chances_of, link
from unmingle.model.diarisation.overheard import Overheard
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.embedding.embedder import Embedder, embed_each
from unmingle.model.embedding.keeping import Keeping, Keeps
from unmingle.model.heard import Heard
from unmingle.model.parts import Plan
from unmingle.model.recording import Progress, Recording, seekable
from unmingle.model.signal import features, segments
from unmingle.model.signal.high_pass import HighPass
from unmingle.model.stage_clock import StageClock

_ALL_WITHIN = 0.5
"""Chance that everything, the background included, is no more sources than there are. Above it, all is theirs."""
_FEWER_HEARD = 0.25
"""Chance that fewer sources than are asked for are heard before the background. Above it, it is one of them."""
_MOSTLY_BACKGROUND = 0.5
"""Part of a recording that is not background. With less, noise drowns the voices and sounds like one of two sources."""
_SURELY_FEWER = 0.6
"""In place of _FEWER_HEARD, where most is background."""
_POINTS_OF_PEOPLE = 2048
"""Embeddings of a segment by which it is known where those of its people lie."""
_ALL_AT_ONCE = 0.5
"""Part of the time with speech in which several speak: with more, nobody takes turns that would tell them apart."""
_FEWEST_WHO_TALK = 2
"""So many who take turns are known by their voices. One may speak beside other sounds: those, the embeddings tell."""
_RUMBLE = 0.02
"""Part of a recording's energy that is too low to be heard. With more, masks would let some of it into the stems."""


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
        diariser: Diariser | None = None,
    ) -> None:
        """Args:
        keeping: where embeddings wait for the second pass; by default in memory, where they have room.
        wanted: the segments to listen to, of a `Seekable` recording at the model's rate; None is all.
        diariser: tells who speaks within a segment, where there are several.
        """
        self._recording = recording
        self._embedder = embedder
        self._layout = layout
        self._clock = clock
        self._wanted = wanted
        self._diariser = diariser
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
        diariser = self._diariser if self._is_talk else None
        overheard = Overheard(high_pass.reads_from)
        for segment, embedded in self._embed(high_pass, tell, overheard.push if diariser else None):
            if diariser:
                with self._clock.stage("diarise"):
                    hop = self._embedder.config.hop
                    start, end = segment.start * hop, (segment.start + len(segment.magnitude)) * hop
                    samples = overheard.taken(start, end)
                    chances = diariser.chances(samples)
                    heard.turns.add(diariser.config, start, chances)
            number = first + heard.segments
            # What is drawn in a segment does not depend on what was drawn before, so it can be done anywhere.
            rng = _generator(seed, number) if number else heard.rng
            with self._clock.stage("cluster"):
                weights = features.clustering_weights(segment.magnitude)
                heard.sample.add(embedded, weights, rng)
                behind = background.chance(embedded, self._embedder.config)
                if behind is not None:
                    weights, everything = background.foreground(weights, behind), weights
                    heard.foreground.add(everything, weights)
                    heard.foreground_sample.add(embedded, weights, rng)
            if diariser:
                with self._clock.stage("diarise"):
                    points, mass, frames_of = kmeans.sampled(
                        embedded, weights, _POINTS_OF_PEOPLE, np.random.default_rng(segment.start)
                    )
                    at = np.asarray(frames_of * self._embedder.config.hop, np.float64)
                    heard.people.add(diariser, samples, chances, points, mass, at)
            with self._clock.stage("keep"):
                self._keeping.add(segment, embedded)
            heard.segments += 1
            del embedded  # what is not kept shall be gone before there is more
            tell(0)

    @property
    def _is_talk(self) -> bool:
        """Whether people may take turns that the stems alone do not tell: in more than one segment, at its rate."""
        config, layout = self._embedder.config, self._layout
        one = layout.frames + (layout.frames - layout.overlap) // 2
        if self._diariser is None or expected_frames(self._recording, config) <= one:
            return False
        return self._diariser.config.sample_rate == config.sample_rate

    def remember(self, heard: Heard) -> None:
        """Take what an earlier listening to the same recording found out, instead of listening."""
        self.heard = heard

    def plan(self, centroids: kmeans.Vectors, count_chance: float | None, talk: Talk | None = None) -> Plan:
        """What the second pass is to do, once all was listened to and `settle` or `take_all` called."""
        rumbles = self.heard.energy.removed > _RUMBLE
        heard = self.heard
        return Plan(centroids, count_chance, self.has_background, rumbles, heard.segments, heard.turns, talk)

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
        return self.sources(num_sources, rng)[0]

    def sources(self, num_sources: int, rng: np.random.Generator) -> tuple[kmeans.Vectors, Talk | None]:
        """(sources, dim) centroids of the whole recording, and which source each person of a segment is.

        Where people take turns, their voices say who is whom, and the embeddings of what they say alone are where the
        clustering begins. A source that is none of them begins where the embeddings are furthest from all.
        """
        with self._clock.stage("cluster"):
            points, weights = self._clustered.all()
            talk = self._talk(num_sources)
            if talk is None or not len(points):
                return kmeans.cluster(points, weights, num_sources, rng).centroids, None
            begin = self.heard.people.centroids(talk.voices, talk.count)
            return kmeans.cluster_from(begin, points, weights, num_sources, rng), talk

    def _talk(self, most: int) -> Talk | None:
        """Which of at most so many voices each person of a segment has; None where nobody takes turns."""
        turns = self.heard.turns
        if turns.config is None or not turns.is_whole or not self.heard.people.alone_s:
            return None
        if len(self.heard.people.alone_s) != len(turns.found) or turns.overlap > _ALL_AT_ONCE:
            return None
        talk = link(self.heard.people, most)
        return talk if talk.count >= _FEWEST_WHO_TALK else None

    @property
    def _clustered(self) -> kmeans.EmbeddingSample:
        return self.heard.foreground_sample if self.has_background else self.heard.sample

    def chances(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """(counts,) chance of 1, 2, 3... sources; None of silence, or where the model cannot count."""
        weights = self._embedder.config.count_weights
        most = counting.counts_up_to(weights)
        if not len(self._clustered) or not most:
            return None
        with self._clock.stage("count"):
            talk = self._talk(most)
            if talk is not None:
                return chances_of(talk.count, most)
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
        self, high_pass: HighPass, heard_more: Callable[[int], None], overhear: segments.Overhear | None = None
    ) -> Iterator[tuple[segments.Segment, Embedded]]:
        config = self._embedder.config

        def pieces() -> Iterator[segments.Magnitude]:
            for piece in self._magnitude(high_pass, overhear):
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

    def _magnitude(self, high_pass: HighPass, overhear: segments.Overhear | None) -> Iterator[segments.Magnitude]:
        config, recording, clock = self._embedder.config, self._recording, self._clock
        if self._wanted is None:
            return segments.heard_magnitude(recording, config, clock, high_pass, overhear)
        start = self._wanted.start
        return segments.heard_magnitude_from(start, seekable(recording), config, clock, high_pass, overhear)


def _generator(seed: int, segment: int) -> np.random.Generator:
    """That of one segment: independent of those of others, and of that of the seed itself."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(segment,)))
