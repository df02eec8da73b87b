"""What a separation looks like: a picture of who is heard where, and a sample of the embeddings, both of bounded size.

Gathered during the second pass, so that a long recording has them without keeping all its embeddings.

Axes: (column, band) for pictures, (point, dim) for embeddings, (source, frame, band) for masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.signal import masks
from unmingle.model.signal.masks import Masks, Vectors
from unmingle.model.signal.segments import Segment

MOST_COLUMNS = 8192
"""Of the picture of a whole recording."""
MOST_POINTS = 8192
_AUDIBLE_DB = 40.0
"""Points lie within so much of the loudest."""
_RANGE_DB = 60.0
"""From the loudest pixel to black."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A picture of a part of a recording, low frequencies first. Axes: (band, column).

    Attributes:
        source: the source that each pixel belongs to.
        certainty: how clearly, 0 to 1; 0 is background, or a tie.
        loudness: 0 to 1, over 60 dB.
    """

    source: NDArray[np.uint8]
    certainty: NDArray[np.float32]
    loudness: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Points:
    """Bins that are heard, in order of time.

    Attributes:
        places: (points, 2) frame and band.
        embeddings: (points, dim).
        weights: (points,) how loud they are.
    """

    places: NDArray[np.int64]
    embeddings: Vectors
    weights: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Overview:
    """What is left to look at of a separation.

    Attributes:
        centroids: (sources, dim).
        order: of each stem, its source's number among the centroids.
        frame_s: seconds from one frame to the next.
        band_hz: centre of each band.
        frames: of the whole recording.
        source, certainty: (columns, bands) uint8; 255 is certain.
        magnitude: (columns, bands), the largest of each column.
        points: a sample.
    """

    centroids: Vectors
    order: NDArray[np.int64]
    frame_s: float
    band_hz: NDArray[np.float64]
    frames: int
    source: NDArray[np.uint8]
    certainty: NDArray[np.uint8]
    magnitude: NDArray[np.float32]
    points: Points

    def save(self, path: Path) -> None:
        """Write all of it into one file (NumPy's .npz)."""
        flat = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "points"}
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                **flat,
                places=self.points.places,
                embeddings=np.rint(127.0 * self.points.embeddings).astype(np.int8),
                weights=self.points.weights,
            )

    @classmethod
    def load(cls, path: Path) -> Overview:
        """Read what `save` wrote; embeddings are rounded to 127ths.

        Raises:
            FileNotFoundError: nothing was saved there.
        """
        with np.load(path, allow_pickle=False) as arrays:
            points = Points(arrays["places"], arrays["embeddings"].astype(np.float32) / 127.0, arrays["weights"])
            names = [field.name for field in dataclasses.fields(cls) if field.name != "points"]
            given = {name: arrays[name] for name in names}
        return cls(**{**given, "frame_s": float(given["frame_s"]), "frames": int(given["frames"])}, points=points)

    def picture(self, start_s: float, end_s: float, columns: int) -> Pixels:
        """From `start_s` to `end_s`; no finer than what was gathered, however many columns are wanted."""
        there = len(self.source)
        per_second = there / max(1e-9, self.frames * self.frame_s)
        first = min(max(0.0, start_s * per_second), there - 1.0)
        last = min(max(first + 1e-6, end_s * per_second), float(there))
        edges = np.linspace(first, last, columns + 1)
        middle = ((edges[:-1] + edges[1:]) / 2).astype(np.int64).clip(0, there - 1)
        starts = edges[:-1].astype(np.int64)
        stops = np.maximum(starts + 1, np.ceil(edges[1:]).astype(np.int64)).clip(max=there)
        loudest = np.stack([self.magnitude[a:b].max(0) for a, b in zip(starts, stops, strict=True)])
        return Pixels(
            self.source[middle].T,
            np.asarray(self.certainty[middle].T / np.float32(255.0), np.float32),
            loudness_of(loudest.T, float(self.magnitude.max(initial=0.0))),
        )


class Gathering:
    """Gathers an overview, segment by segment, in the order of time."""

    def __init__(self, config: ModelConfig, frames: int) -> None:
        """Args: frames: of the whole recording; what comes after them is left out."""
        self._config, self._frames = config, max(1, frames)
        columns = min(self._frames, MOST_COLUMNS)
        self._edges = np.linspace(0, self._frames, columns + 1).astype(np.int64)
        shape = (columns, config.bands)
        self._source, self._certainty = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._magnitude = np.zeros(shape, np.float32)
        self._looked_at = point_frames(self._frames, MOST_POINTS)
        self._covered = 0
        self._begin: int | None = None
        """The first frame that was looked at."""
        self._places: list[NDArray[np.int64]] = []
        self._embeddings: list[Vectors] = []
        self._weights: list[NDArray[np.float32]] = []

    def add(self, segment: Segment, embedded: Embedded, shares: Masks, behind: Masks | None) -> None:
        """Look at one segment.

        Args:
            segment: its magnitudes; it may overlap the one before.
            embedded: its embeddings.
            shares: soft masks of the sources, without the background.
            behind: (frames, bands) chance of the background; None where there is none.
        """
        # Of an overlap, each half is shown as the nearer segment has it.
        first = segment.start + max(0, self._covered - segment.start) // 2
        end = min(segment.start + len(segment.magnitude), self._frames)
        self._covered = max(self._covered, end)
        if first >= end:
            return
        self._begin = first if self._begin is None else self._begin
        self._paint(segment, first, end, shares, behind)
        self._sample(segment, first, end, embedded, behind)

    def skip(self, segment: Segment) -> None:
        """Leave out a segment, which another one looks at."""
        self._covered = max(self._covered, min(segment.start + len(segment.magnitude), self._frames))

    def extend(self, later: Gathering) -> None:
        """Take in what another one gathered of the segments that follow."""
        if later._begin is None:
            return
        columns = self._middle >= later._begin
        self._source[columns], self._certainty[columns] = later._source[columns], later._certainty[columns]
        np.maximum(self._magnitude, later._magnitude, out=self._magnitude)
        self._places += later._places
        self._embeddings += later._embeddings
        self._weights += later._weights

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that was gathered, to be written down."""
        painted = np.flatnonzero((self._source.any(1) | self._certainty.any(1)) | self._magnitude.any(1))
        first, end = (int(painted[0]), int(painted[-1]) + 1) if len(painted) else (0, 0)
        return {
            "begin": np.array([] if self._begin is None else [self._begin], np.int64),
            "first": np.array(first),
            "source": self._source[first:end],
            "certainty": self._certainty[first:end],
            "magnitude": self._magnitude[first:end],
            **self._points(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was written down, in place of what was gathered."""
        self._begin = next(iter(arrays["begin"].tolist()), None)
        columns = slice(int(arrays["first"]), int(arrays["first"]) + len(arrays["source"]))
        self._source[columns], self._certainty[columns] = arrays["source"], arrays["certainty"]
        self._magnitude[columns] = arrays["magnitude"]
        self._places, self._embeddings = [arrays["places"]], [arrays["embeddings"]]
        self._weights = [arrays["weights"]]

    def _points(self) -> dict[str, NDArray[Any]]:
        dim = self._config.embedding_dim
        return {
            "places": np.concatenate([np.zeros((0, 2), np.int64), *self._places]),
            "embeddings": np.concatenate([np.zeros((0, dim), np.float32), *self._embeddings]),
            "weights": np.concatenate([np.zeros(0, np.float32), *self._weights]),
        }

    def finish(self, centroids: Vectors, order: tuple[int, ...]) -> Overview:
        """All that was gathered, of a separation with these centroids whose stems come in this order."""
        config = self._config
        return Overview(
            centroids,
            np.array(order, np.int64),
            config.hop / config.sample_rate,
            masks.band_hz(config),
            self._frames,
            self._source,
            self._certainty,
            self._magnitude,
            chosen_points(
                **self._points(),
                most=MOST_POINTS,
                rng=np.random.default_rng(0),
            ),
        )

    @property
    def _middle(self) -> NDArray[np.int64]:
        """(columns,): the frame that each pixel shows."""
        return (self._edges[:-1] + self._edges[1:]) // 2

    def _paint(self, segment: Segment, first: int, end: int, shares: Masks, behind: Masks | None) -> None:
        middle = self._middle
        own = np.flatnonzero((middle >= first) & (middle < end))
        at = middle[own] - segment.start
        certainty = masks.claim(shares[:, at], 1.0) if len(shares) > 1 else np.ones(shares.shape[1:], np.float32)[at]
        if behind is not None:
            certainty = certainty * (1.0 - behind[at])
        self._source[own] = shares[:, at].argmax(0)
        self._certainty[own] = np.rint(255.0 * certainty)
        column = np.searchsorted(self._edges, np.arange(first, end), side="right") - 1
        starts = np.flatnonzero(np.diff(column, prepend=-1))
        loudest = np.maximum.reduceat(segment.magnitude[first - segment.start : end - segment.start], starts)
        self._magnitude[column[starts]] = np.maximum(self._magnitude[column[starts]], loudest)

    def _sample(self, segment: Segment, first: int, end: int, embedded: Embedded, behind: Masks | None) -> None:
        bands = self._config.bands
        frames = self._looked_at[(self._looked_at >= first) & (self._looked_at < end)] - segment.start
        if not len(frames):
            return
        weights = segment.magnitude[frames]
        if behind is not None:
            weights = weights * (behind[frames] < 0.5)
        rows, columns = np.nonzero(weights > weights.max(initial=0.0) * 10.0 ** (-_RANGE_DB / 20.0))
        self._places.append(np.stack([frames[rows] + segment.start, columns], axis=1))
        self._embeddings.append(embedded.at(frames[rows] * bands + columns))
        self._weights.append(np.asarray(weights[rows, columns], np.float32))


def point_frames(frames: int, most: int) -> NDArray[np.int64]:
    """Frames whose bins are looked at for a sample of `most` points: enough of them, evenly spread."""
    return np.unique(np.linspace(0, max(0, frames - 1), min(frames, 4 * int(np.sqrt(most)) + 64)).astype(np.int64))


def chosen_points(
    places: NDArray[np.int64],
    embeddings: Vectors,
    weights: NDArray[np.float32],
    most: int,
    rng: np.random.Generator,
) -> Points:
    """At most so many of some bins, the louder the likelier; those far below the loudest are left out."""
    there = np.flatnonzero((weights > 0) & (weights >= weights.max(initial=0.0) * 10.0 ** (-_AUDIBLE_DB / 20.0)))
    if len(there) > most:
        chances = np.sqrt(weights[there].astype(np.float64))
        there = np.sort(rng.choice(there, most, replace=False, p=chances / chances.sum()))
    return Points(places[there], embeddings[there], np.asarray(weights[there], np.float32))


def loudness_of(magnitude: NDArray[np.float32], loudest: float) -> NDArray[np.float32]:
    """0 to 1: decibels below the loudest."""
    decibels = 20.0 * np.log10(np.maximum(magnitude, 1e-12) / max(loudest, 1e-12))
    return np.asarray(np.clip(1.0 + decibels / _RANGE_DB, 0.0, 1.0), np.float32)
