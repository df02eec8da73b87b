"""A baseline of computational auditory scene analysis: voices are told apart by pitch, and nothing is learned.

After Hu and Wang, "An unsupervised approach to cochannel speech separation" (IEEE TASLP 2013), which the paper compares
itself with: its two steps, without its refinements. Simultaneous grouping: in each frame, the bins at the harmonics of
the strongest pitch belong together, and so do those of the next frames for as long as that pitch goes on. Sequential
grouping: the tracks that come of it are clustered into speakers, by their pitch. What no track claims is shared out:
beside a track it belongs to the others, elsewhere to all alike.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from benchmarks.paper.hearing import Heard, Masker
from unmingle.model.config import ModelConfig
from unmingle.model.signal.masks import Masks

LOWEST_HZ, HIGHEST_HZ = 80.0, 400.0
COMPRESSION = 0.67
"""Exponent of the power spectrum whose autocorrelation shows the pitch (Tolonen and Karjalainen, 2000)."""
VOICED = 0.35
"""Least height of the autocorrelation's peak, over that at lag 0."""
JUMP_OCTAVES = 0.12
"""A pitch that moves further from one frame to the next begins another track."""
LEAST_FRAMES = 3
"""Of a track: shorter ones are chance."""
REACH_HZ = 30.0
"""A bin this close to a harmonic belongs to it; about the spacing of bins."""
SEED = 0


@dataclasses.dataclass(frozen=True)
class Track:
    """A pitch that goes on.

    Attributes:
        start: its first frame.
        pitch_hz: (frames,).
    """

    start: int
    pitch_hz: NDArray[np.float64]

    @property
    def octaves(self) -> float:
        """Its median pitch."""
        return float(np.median(np.log2(self.pitch_hz)))


def by_pitch(heard: Heard) -> Masker:
    """See above. For networks' bins that are not bands."""

    def mask(part: slice) -> Masks:
        magnitude, sources = heard.magnitude[part], len(heard.sources)
        masks = np.full((sources, *magnitude.shape), 1.0 / sources, np.float32)
        tracks = find_tracks(strongest_pitch(magnitude, heard.config))
        for track, speaker in zip(tracks, speakers_of(tracks, sources), strict=True):
            frames = slice(track.start, track.start + len(track.pitch_hz))
            own = at_harmonics(track.pitch_hz, heard.config)
            masks[:, frames] = np.where(own, 0.0, 1.0 / max(1, sources - 1))
            masks[speaker, frames] = own
        return masks

    return mask


def strongest_pitch(magnitude: NDArray[np.float32], config: ModelConfig) -> NDArray[np.float64]:
    """Pitch in Hz of each frame of (frame, bin) magnitudes; 0 where there is none."""
    correlation = np.fft.irfft(magnitude.astype(np.float64) ** (2 * COMPRESSION), config.window, axis=-1)
    shortest, longest = (int(config.sample_rate / hz) for hz in (HIGHEST_HZ, LOWEST_HZ))
    lags = correlation[:, shortest : longest + 2]
    best = lags.argmax(-1)
    height = np.take_along_axis(lags, best[:, None], -1)[:, 0] / np.maximum(correlation[:, 0], 1e-12)
    # A parabola through the peak and its neighbours: whole lags are too coarse for high voices.
    lag = best + shortest
    rows = np.arange(len(lag))
    before, at, after = (correlation[rows, lag + step] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    offset = np.where(np.abs(curve) > 1e-12, 0.5 * (before - after) / np.where(curve == 0, 1.0, curve), 0.0)
    return np.where(height >= VOICED, config.sample_rate / (lag + np.clip(offset, -0.5, 0.5)), 0.0)


def find_tracks(pitch_hz: NDArray[np.float64]) -> list[Track]:
    """Stretches in which the pitch, 0 for none, neither stops nor jumps."""
    octaves = np.log2(np.maximum(pitch_hz, 1.0))
    breaks = (pitch_hz[1:] == 0) | (pitch_hz[:-1] == 0) | (np.abs(np.diff(octaves)) > JUMP_OCTAVES)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(pitch_hz)]
    stretches = [Track(a, pitch_hz[a:b]) for a, b in itertools.pairwise(edges)]
    return [track for track in stretches if len(track.pitch_hz) >= LEAST_FRAMES and track.pitch_hz[0] > 0]


def speakers_of(tracks: list[Track], sources: int) -> list[int]:
    """Each track's speaker: k-means of their pitches."""
    if len(tracks) <= sources:
        return list(range(len(tracks)))
    octaves = np.array([[track.octaves] for track in tracks])
    first = np.quantile(octaves, (np.arange(sources) + 0.5) / sources)[:, None]
    _, labels = kmeans2(octaves, first, minit="matrix", missing="warn", rng=np.random.default_rng(SEED))
    return [int(label) for label in labels]


def at_harmonics(pitch_hz: NDArray[np.float64], config: ModelConfig) -> NDArray[np.bool_]:
    """(frame, bin): which bins lie at a harmonic of each frame's pitch."""
    bins_hz = np.arange(config.bins) * config.sample_rate / config.window
    number = np.maximum(1.0, np.round(bins_hz / pitch_hz[:, None]))
    return np.asarray(np.abs(bins_hz - number * pitch_hz[:, None]) <= REACH_HZ)
