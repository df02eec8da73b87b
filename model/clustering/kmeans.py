"""Weighted spherical k-means: embeddings -> centroids. Axes: (bin, dim) for embeddings, (source, dim) for centroids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.embedding.embedded import Embedded

Vectors = NDArray[np.float32]

_EVERY_OTHER = 0.25
"""Where a sample of half of equal weights begins, so that it takes every other one: far from where two meet."""


@dataclasses.dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centroids: (sources, dim), unit norm.
        objective: weighted mean cosine between an embedding and its centroid; 1 is perfect, larger is tighter.
    """

    centroids: Vectors
    objective: float


def cluster(
    embeddings: Vectors,
    weights: Vectors,
    num_sources: int,
    rng: np.random.Generator,
    *,
    starts: int = 6,
    iterations: int = 30,
    sample: int = 8192,
) -> Clusters:
    """Best of several seeded starts of weighted k-means on the unit sphere (Dhillon & Modha, 2001).

    Only a bounded sample of bins places the centroids, drawn in proportion to weight; all bins are assigned later
    with one matrix product, so the cost of clustering hardly grows with the recording. The starts compete on a
    quarter of the sample, and the best of them is refined on all of it.

    Args:
        embeddings: (bins, dim), unit norm.
        weights: (bins,), not negative; 0 leaves a bin out.
        num_sources: how many centroids to place.
        rng: decides the sample and the starts.

    Returns:
        Centroids, also where there are fewer distinct embeddings than sources (some then coincide) and where no
        bin has weight (all are then zero vectors, which makes soft masks uniform).
    """
    points, mass = _sample(embeddings, weights, sample, rng)
    if len(points) == 0:
        return Clusters(np.zeros((num_sources, embeddings.shape[-1]), np.float32), 0.0)
    few, few_mass = _sample(points, mass, sample // 4, rng)
    spread = np.stack([_spread_start(few, few_mass, num_sources, rng) for _ in range(starts)])
    best = _lloyd(few, few_mass, spread, iterations)
    return _lloyd(points, mass, best.centroids[None], iterations)


def cluster_from(
    begin: Vectors,
    embeddings: Vectors,
    weights: Vectors,
    num_sources: int,
    rng: np.random.Generator,
    *,
    starts: int = 6,
    iterations: int = 30,
) -> Vectors:
    """(sources, dim) centroids, where it is known where the first of them lie, more or less.

    k-means from there on, on all embeddings, which are a sample already. What is missing begins as in `cluster`, at
    several places, of which the best is taken. The order is that of `begin`.

    Args:
        begin: (at least one, at most `num_sources`; dim) unit norm.
        embeddings, weights, num_sources, rng: as for `cluster`.
    """
    if not (weights > 0).any():
        return np.zeros((num_sources, embeddings.shape[-1]), np.float32)
    tried = starts if len(begin) < num_sources else 1
    spread = np.stack([_spread_start(embeddings, weights, num_sources, rng, begin) for _ in range(tried)])
    found = _lloyd(embeddings, weights, spread, iterations).centroids
    # One that begins elsewhere may take another's place, which then takes a third one's.
    similarity, place = begin @ found.T, np.full(len(begin), -1)
    for _ in range(len(begin)):
        known, centroid = np.unravel_index(similarity.argmax(), similarity.shape)
        place[known] = centroid
        similarity[known] = similarity[:, centroid] = -np.inf
    others = np.setdiff1d(np.arange(num_sources), place)
    return np.asarray(found[np.concatenate((place, others))], np.float32)


def sampled(
    embedded: Embedded, weights: Vectors, most: int, rng: np.random.Generator
) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Some bins of a segment, drawn in proportion to their (frames, bands) weights.

    Returns:
        (bins, dim) embeddings, (bins,) weights, and (bins,) the frame of each.
    """
    chosen, mass = _choose(weights.ravel(), most, rng)
    return embedded.at(chosen), mass, chosen // weights.shape[1]


def local_centroids(
    centroids: Vectors,
    embedded: Embedded,
    weights: Vectors,
    rng: np.random.Generator,
    *,
    prior: float = 0.3,
    iterations: int = 2,
    sample: int = 2048,
) -> Vectors:
    """Centroids of one segment, near those of the whole recording: a voice is not quite the same all the time.

    k-means from the whole recording's centroids on, with each of them as one more point of its own cluster. Whoever
    says nothing in the segment keeps the centroid of the recording, and all keep their place in the order.

    Args:
        centroids: (sources, dim) of the whole recording, unit norm.
        embedded: (frames, bands, dim) of the segment.
        weights: (frames, bands), not negative.
        rng: decides which bins are looked at.
        prior: what all centroids together weigh beside the segment's bins.

    Returns:
        (sources, dim), unit norm; the same centroids where no bin has weight.
    """
    chosen, mass = _choose(weights.ravel(), sample, rng)
    if len(chosen) == 0:
        return centroids
    points = embedded.at(chosen)
    across, weighted = np.ascontiguousarray(points.T), points * (mass / mass.sum(dtype=np.float64))[:, None]
    global_part = centroids * np.float32(prior / len(centroids))
    found = centroids
    for _ in range(iterations):
        similarity = found @ across
        sums = (similarity == similarity.max(0)).astype(np.float32) @ weighted + global_part
        found = (sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-8)).astype(np.float32)
    return found


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Some bins of one segment, drawn in proportion to weight.

    Attributes:
        embeddings: (points, dim), unit norm.
        weights: (points,), not negative.
        frames: (points,) frame of the segment that each is from, in order.
    """

    embeddings: Vectors
    weights: Vectors
    frames: NDArray[np.int64]


class EmbeddingSample:
    """A bounded sample of the embeddings of a recording of any length, drawn in proportion to weight.

    What is kept of a segment depends on that segment, on its generator and on how much there is in all. So parts of a
    recording can be sampled anywhere and joined.
    """

    def __init__(
        self, most: int = 65_536, per_segment: int = 8192, most_excerpts: int = 8, first_segment: int = 0
    ) -> None:
        """Args: first_segment: number, in the recording, of the segment that is added first."""
        self._most = most
        self._per_segment = self._excerpt_size = per_segment
        self._points: list[Vectors] = []
        self._mass: list[Vectors] = []
        self._excerpts: list[tuple[int, Excerpt]] = []
        self._most_excerpts = most_excerpts
        self._excerpt_every = 1
        self._next_segment = first_segment

    def add(self, embedded: Embedded, weights: Vectors, rng: np.random.Generator) -> None:
        """Take in one segment: its embeddings and (frames, bands) weights."""
        points, mass, frames = sampled(embedded, weights, self._excerpt_size, rng)
        if self._next_segment % self._excerpt_every == 0:
            self._excerpts.append((self._next_segment, Excerpt(points, mass, frames)))
        self._next_segment += 1
        self._points.append(points)
        self._mass.append(mass)
        self._thin(len(self._points) - 1)
        self._bound()

    def extend(self, later: EmbeddingSample) -> None:
        """Take in a sample of what follows in the same recording."""
        self._points += later._points
        self._mass += later._mass
        self._excerpts += later._excerpts
        self._next_segment = later._next_segment
        self._per_segment = min(self._per_segment, later._per_segment)
        self._excerpt_every = max(self._excerpt_every, later._excerpt_every)
        self._thin()
        self._bound()

    def _bound(self) -> None:
        """Let go of what is too much."""
        while len(self) > self._most and self._per_segment > 1:
            # Halve what every segment may contribute, the past ones too, so that early and late count the same.
            self._per_segment //= 2
            self._thin()
        self._excerpts = [each for each in self._excerpts if each[0] % self._excerpt_every == 0]
        while len(self._excerpts) > self._most_excerpts:
            # Every other one goes, so that those that stay are evenly spread over the recording.
            self._excerpt_every *= 2
            self._excerpts = [each for each in self._excerpts if each[0] % self._excerpt_every == 0]

    def _thin(self, first: int = 0) -> None:
        """Halve what there is of each segment, from the `first` one here on, until it is no more than it may be."""
        for at in range(first, len(self._points)):
            points, mass, most = self._points[at], self._mass[at], self._excerpt_size
            while most > self._per_segment:
                most //= 2
                if len(mass) > most:
                    chosen, mass = _systematic(mass, most, _EVERY_OTHER)
                    points = points[chosen]
            self._points[at], self._mass[at] = points, mass

    def __len__(self) -> int:
        """How many bins were kept."""
        return sum(map(len, self._mass))

    def all(self) -> tuple[Vectors, Vectors]:
        """(points, dim) embeddings and (points,) weights of what was kept."""
        return np.concatenate(self._points), np.concatenate(self._mass)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that was kept, to be written down."""
        points, mass = self.all() if self._points else (np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
        excerpts = self.excerpts()
        return {
            "points": points,
            "mass": mass,
            "lengths": np.array(list(map(len, self._mass)), np.int64),
            "next_segment": np.array(self._next_segment),
            "per_segment": np.array(self._per_segment),
            "excerpt_every": np.array(self._excerpt_every),
            "excerpt_segments": np.array([number for number, _ in self._excerpts], np.int64),
            "excerpt_lengths": np.array([len(excerpt.weights) for excerpt in excerpts], np.int64),
            "excerpt_embeddings": np.concatenate([e.embeddings for e in excerpts]) if excerpts else points[:0],
            "excerpt_weights": np.concatenate([e.weights for e in excerpts]) if excerpts else mass[:0],
            "excerpt_frames": np.concatenate([e.frames for e in excerpts]) if excerpts else np.zeros(0, np.int64),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> EmbeddingSample:
        """A sample that was written down."""
        sample = cls()
        sample._points, sample._mass = (_split(arrays[name], arrays["lengths"]) for name in ("points", "mass"))
        sample._next_segment = int(arrays["next_segment"])
        sample._per_segment = int(arrays["per_segment"])
        sample._excerpt_every = int(arrays["excerpt_every"])
        parts = (
            _split(arrays[f"excerpt_{name}"], arrays["excerpt_lengths"]) for name in ("embeddings", "weights", "frames")
        )
        sample._excerpts = [
            (int(number), Excerpt(*own)) for number, *own in zip(arrays["excerpt_segments"], *parts, strict=True)
        ]
        return sample

    def excerpts(self) -> list[Excerpt]:
        """A few segments, spread over the recording, in as much detail as each was sampled at first."""
        return [excerpt for _, excerpt in self._excerpts]


def _sample(embeddings: Vectors, weights: Vectors, most: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """At most `most` bins and their weights; the sum of the weights stays."""
    chosen, mass = _choose(weights, most, rng)
    return embeddings[chosen], mass


def _choose(weights: Vectors, most: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Vectors]:
    """Indices, in order, of at most `most` bins that count, and their weights (systematic resampling)."""
    counted = np.flatnonzero(weights > 0)
    if len(counted) <= most:
        return counted, weights[counted]
    chosen, mass = _systematic(weights[counted], most, rng.random())
    return counted[chosen], mass


def _systematic(weights: Vectors, most: int, begin: float) -> tuple[NDArray[np.int64], Vectors]:
    """`most` of more positive weights; the sample begins at `begin`, 0 to 1, of its first step."""
    total = np.cumsum(weights, dtype=np.float64)
    at = (begin + np.arange(most)) * (total[-1] / most)
    chosen = np.searchsorted(total, at).clip(max=len(weights) - 1)
    return chosen, np.full(most, total[-1] / most, np.float32)


def _split(array: NDArray[Any], lengths: NDArray[np.int64]) -> list[NDArray[Any]]:
    return np.split(array, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _spread_start(
    points: Vectors, mass: Vectors, num_sources: int, rng: np.random.Generator, begin: Vectors | None = None
) -> Vectors:
    """k-means++ seeding with 1 - cosine as the distance (Arthur & Vassilvitskii, 2007), after those of `begin`."""
    chosen = [points[_draw(mass / mass.sum(dtype=np.float64), rng)]] if begin is None else list(begin)
    distance = np.full(len(points), np.inf, np.float32)
    for centroid in chosen[:-1]:
        distance = np.minimum(distance, np.maximum(1.0 - points @ centroid, 0.0))
    while len(chosen) < num_sources:
        distance = np.minimum(distance, np.maximum(1.0 - points @ chosen[-1], 0.0))
        chance = (distance * mass).astype(np.float64)
        total = chance.sum()
        # Where every point coincides with a centroid already, any point will do.
        at = _draw(chance / total, rng) if total > 0 else rng.choice(len(points))
        chosen.append(points[at])
    return np.stack(chosen)


def _draw(chances: NDArray[np.float64], rng: np.random.Generator) -> int:
    """What `rng.choice(len(chances), p=chances)` draws, without its checks, which take longer than drawing."""
    reached = chances.cumsum()
    return int(np.searchsorted(reached / reached[-1], rng.random(), side="right"))


def _lloyd(points: Vectors, mass: Vectors, starts: Vectors, iterations: int) -> Clusters:
    """The best that is reached from (starts, sources, dim) centroids; all of them move at the same time.

    One start's products are so small that calling NumPy takes longer than computing them.
    """
    # Points side by side: NumPy is several times faster at a few long rows than at many short ones.
    across = np.ascontiguousarray(points.T)
    weighted, total = points * mass[:, None], float(mass.sum(dtype=np.float64))
    centroids, objectives = starts.copy(), np.full(len(starts), -np.inf)
    moving = np.arange(len(starts))
    for _ in range(iterations):
        count, sources, dim = len(moving), starts.shape[1], starts.shape[2]
        current = centroids[moving]
        similarity = (current.reshape(-1, dim) @ across).reshape(count, sources, -1)
        largest = similarity.max(1)
        reached = (largest @ mass).astype(np.float64) / total
        gained = reached - objectives[moving] >= 1e-6
        if not gained.all():
            moving, current, similarity = moving[gained], current[gained], similarity[gained]
            largest, reached, count = largest[gained], reached[gained], len(moving)
            if not count:
                break
        objectives[moving] = reached
        nearest = similarity == largest[:, None]
        if np.count_nonzero(nearest) > largest.size:  # of centroids equally near, the first
            nearest &= nearest.cumsum(1) == 1
        members = np.ascontiguousarray(nearest.reshape(count * sources, -1).T, np.float32)
        sums = (members.T @ weighted).reshape(count, sources, dim)
        norms = np.sqrt(np.square(sums).sum(-1, keepdims=True))
        # A centroid that lost all its members stays where it is.
        centroids[moving] = np.where(norms > 1e-8, sums / np.maximum(norms, np.float32(1e-8)), current)
    best = int(objectives.argmax())
    return Clusters(centroids[best], float(objectives[best]))
