"""Embeddings and centroids -> masks -> masks on another grid. Axes: (source, frame, band) and (source, frame, bin)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.signal import high_pass

Masks = NDArray[np.float32]
Vectors = NDArray[np.float32]

_TOP_HZ = 2_000.0
_THOUGH_SILENT = 0.2
"""Added to the chance that a source speaks, for what local diarisation does not hear. Chosen on validation
conversations."""
_FRAMES_AT_ONCE = 128
"""What is worked on in pieces so small stays in the processor's cache."""
_MOST_EXPONENT = np.float32(80.0)
"""Of whose exponential float32 still can hold the sum with 1."""


def soft_masks(embeddings: Vectors, centroids: Vectors, sharpness: float) -> Masks:
    """Softmax over sources of sharpness * cosine: (frames, bands, dim), (sources, dim) -> (sources, frames, bands).

    Sums to 1 over the sources everywhere; centroids of zeros give 1 / sources everywhere.
    """
    sharpened = centroids * np.float32(sharpness)
    make = _sigmoid if len(centroids) == 2 else _softmax
    shares = np.empty((len(centroids), *embeddings.shape[:2]), np.float32)
    for start in range(0, len(embeddings), _FRAMES_AT_ONCE):
        frames = slice(start, start + _FRAMES_AT_ONCE)
        make(embeddings[frames], sharpened, shares[:, frames])
    return shares


def _softmax(embeddings: Vectors, sharpened: Vectors, shares: Masks) -> None:
    shares[:] = _similarity(embeddings, sharpened)
    shares -= shares.max(0, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(0, keepdims=True)


def _sigmoid(embeddings: Vectors, sharpened: Vectors, shares: Masks) -> None:
    """`_softmax` of two, which needs half of the products and of the exponentials."""
    first, second = shares
    frames, bands, dim = embeddings.shape
    against = (embeddings.reshape(-1, dim) @ (sharpened[1] - sharpened[0])).reshape(frames, bands)
    np.minimum(against, _MOST_EXPONENT, out=against)
    np.exp(against, out=against)
    against += 1.0
    np.divide(1.0, against, out=first)
    np.subtract(1.0, first, out=second)


def taken_in_turn(masks: Masks, speaking: Masks) -> Masks:
    """Soft masks, by the (sources, frames) chance that each source speaks: (sources, frames, bands), which sum to 1.

    What embeddings alone would give to whoever does not speak is mostly somebody else's.
    """
    weighted = masks * (speaking + np.float32(_THOUGH_SILENT))[:, :, None]
    return np.asarray(weighted / np.maximum(weighted.sum(0), np.float32(1e-12)), np.float32)


def hard_masks(embeddings: Vectors, centroids: Vectors) -> Masks:
    """1 for the nearest centroid and 0 for the others (the paper's masks), shapes as for `soft_masks`."""
    return nearest(_similarity(embeddings, centroids), centroids)


def nearest(similarity: Masks, centroids: Vectors) -> Masks:
    """`hard_masks`, from the (sources, frames, bands) cosines of embeddings and centroids."""
    if not centroids.any():
        return np.full(similarity.shape, 1.0 / len(centroids), np.float32)
    return labels_to_masks(similarity.argmax(0), len(centroids))


def labels_to_masks(labels: NDArray[np.integer], num_sources: int) -> Masks:
    """(frames, bands) of source indices -> one-hot (sources, frames, bands)."""
    return np.asarray(labels == np.arange(num_sources)[:, None, None], np.float32)


def claim(masks: Masks, threshold: float = 0.5) -> Masks:
    """How far any source claims a bin: (sources, ...) soft masks -> (...), 0 (a tie) to 1 (margin over the threshold).

    The margin of a bin is its largest mask, rescaled so that a tie of all sources is 0 and certainty is 1.
    """
    return np.asarray(np.minimum(_margin(masks) / threshold, 1.0), np.float32)


def with_background(masks: Masks, background: Masks) -> Masks:
    """Append a mask of the background, and take it from the others: (sources, ...), (...) -> (sources + 1, ...).

    The sum over sources and background stays 1.
    """
    return np.concatenate((masks * (1.0 - background), background[None]), dtype=np.float32)


def inaudible_bands(config: ModelConfig) -> int:
    """How many bands, from 0 Hz on, are too low for the network to hear anything in (unmingle.model.signal.high_pass).

    What lies there is background, where there is one.
    """
    return int(0.6 * high_pass.CUTOFF_HZ * config.window / config.sample_rate) + 1


class Clarity:
    """How far the stems can be believed, by the soft masks alone: the confidence of each, 0 to 1.

    It is the geometric mean of two things. How clearly the recording came apart: the margin by which bins belong to one
    source, weighted by magnitude. And how pure the stem is: the part of the energy in its bins that its mask takes,
    where a mask is read as the chance that a bin is the source's; less what masks that know nothing would take.
    Either alone orders stems worse by their true SI-SDR, on mixtures of two as of three speakers.
    """

    def __init__(self, num_sources: int, sums: Iterable[Iterable[float]] = ()) -> None:
        """Args: sums: those of another one."""
        self._sources = num_sources
        self.sums = [tuple(row) for row in sums]
        """Of some frames: margin, magnitude, then what each source's mask takes, then the energy that is there."""

    def push(self, masks: Masks, magnitude: Masks) -> None:
        """Take in a segment: (sources, frames, bands) soft masks and (frames, bands) magnitudes."""
        for start in range(0, len(magnitude), _FRAMES_AT_ONCE):
            frames = slice(start, start + _FRAMES_AT_ONCE)
            shares = masks[:, frames].reshape(len(masks), -1)
            heard = magnitude[frames].ravel()
            energy = np.square(heard)
            margin, loudness = float(_margin(shares) @ heard), float(heard.sum(dtype=np.float64))
            taken, there = np.square(shares) @ energy, shares @ energy
            self.sums.append((margin, loudness, *taken.tolist(), *there.tolist()))

    def extend(self, later: Clarity) -> None:
        """Take in what follows."""
        self.sums += later.sums

    def per_source(self) -> tuple[float, ...]:
        """0 to 1 for each source; 0 for one that has nothing."""
        sources = self._sources
        margin, magnitude, *energies = np.sum(self.sums, axis=0) if self.sums else np.zeros(2 + 2 * sources)
        if not magnitude:
            return (0.0,) * sources
        taken, there = np.reshape(energies, (2, sources))
        purity = taken / np.maximum(there, np.finfo(float).tiny)
        if sources > 1:
            purity = np.maximum(0.0, (sources * purity - 1.0) / (sources - 1.0))
        return tuple(np.sqrt(purity * margin / magnitude).tolist())


def _margin(masks: Masks) -> Masks:
    sources = len(masks)
    if sources == 1:
        return np.ones(masks.shape[1:], np.float32)
    return np.asarray((masks.max(0) * sources - 1.0) / (sources - 1), np.float32)


def _similarity(embeddings: Vectors, centroids: Vectors) -> Masks:
    frames, bands, dim = embeddings.shape
    return np.ascontiguousarray((embeddings.reshape(-1, dim) @ centroids.T).T).reshape(-1, frames, bands)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the frames and bins of an STFT lie: `window` and `hop` in samples at `sample_rate` Hz.

    Frame n is centred on sample (n + 1) * hop - window / 2, as in unmingle.model.signal.stft.
    """

    sample_rate: int
    window: int
    hop: int

    @classmethod
    def at_rate(cls, sample_rate: int, config: ModelConfig) -> Grid:
        """The grid for a recording's own rate that lies closest to the network's, with the same overlap.

        Where no grid of that rate coincides with the network's, a hop that makes the FFT fast beats the nearest one.
        """
        hop = config.hop * sample_rate / config.sample_rate
        hop = round(hop) if hop == round(hop) else max(1, round(hop / 8)) * 8
        return cls(sample_rate, hop * (config.window // config.hop), hop)

    def frame_seconds(self, frames: int) -> NDArray[np.float64]:
        """Centre of each frame in seconds."""
        return ((np.arange(frames) + 1.0) * self.hop - self.window / 2) / self.sample_rate

    def bin_hz(self) -> NDArray[np.float64]:
        """Centre of each bin in Hz."""
        return np.arange(self.window // 2 + 1, dtype=np.float64) * (self.sample_rate / self.window)


def band_hz(config: ModelConfig) -> NDArray[np.float64]:
    """Centre of each band in Hz."""
    edges = np.array((*config.band_starts, config.bins), np.float64)
    return (edges[:-1] + edges[1:] - 1) / 2.0 * (config.sample_rate / config.window)


def regrid(masks: Masks, config: ModelConfig, grid: Grid, frames: int) -> Masks:
    """Carry masks from the network's bands to the bins of another grid, linearly in time and in frequency.

    What the network does not hear, above its highest band, follows the mean of its masks from `_TOP_HZ` below that:
    sibilants reach far up, and the mean over a wide band wavers less than the last band alone. Linear interpolation
    keeps the sum over sources at 1.

    Args:
        masks: (sources, frames, bands) as the network's config lays them out, at least one frame.
        grid: where the masks are wanted.
        frames: how many frames are wanted.

    Returns:
        (sources, frames, bins) of `grid`.
    """
    regridder = Regridder(config, grid)
    first = regridder.push(masks)[:, :frames]
    return np.concatenate((first, regridder.hold(frames - first.shape[1])), axis=1)


class Regridder:
    """`regrid` for masks that arrive in pieces: the same masks, whatever the pieces.

    Attributes:
        reads_from: the network's frame that it is to be given first.
    """

    def __init__(self, config: ModelConfig, grid: Grid, first_frame: int = 0) -> None:
        """Args: first_frame: of `grid`, the first that is wanted."""
        own = Grid(config.sample_rate, config.window, config.hop)
        bands = band_hz(config)
        # Rounded so that a grid that coincides is copied, not blurred by the last bit of a division.
        self._top = int(np.searchsorted(bands, bands[-1] - _TOP_HZ))
        with_beyond = np.append(bands, 2 * bands[-1] - bands[-2])
        bin_at = np.round(np.interp(grid.bin_hz(), with_beyond, np.arange(len(with_beyond))), 6)
        # Bins from the first on that are a band each, and from the last on that lie beyond all bands.
        self._same = int(np.argmin(np.append(bin_at[: len(bands)] == np.arange(len(bin_at))[: len(bands)], False)))
        self._beyond = len(bin_at) - int(np.argmin(np.append(bin_at[::-1] == len(bands), False)))
        self._bins, self._between_at = len(bin_at), bin_at[self._same : self._beyond]
        seconds = grid.frame_seconds(2)
        at = (seconds * own.sample_rate + own.window / 2) / own.hop - 1.0
        self._first_at, self._step = float(at[0]), float(at[1] - at[0])
        self._given = first_frame
        self._last: Masks | None = None
        self.reads_from = self._passed = max(0, int(np.floor(self._first_at + self._step * first_frame + 1e-6)))

    def push(self, masks: Masks) -> Masks:
        """(sources, frames, bands) of the network -> (sources, frames, bins): the frames that are determined by now."""
        if self._last is not None:
            masks = np.concatenate((self._last, masks), axis=1)
        newest = self._passed + masks.shape[1] - 1
        until = max(self._given, int(np.floor((newest - self._first_at) / self._step + 1e-6)) + 1)
        at = self._first_at + self._step * np.arange(self._given, until, dtype=np.float64) - self._passed
        self._given = until
        # Grids of different hop drift against each other, so the next frames may lie before the newest mask.
        kept_from = int(
            np.clip(np.floor(self._first_at + self._step * until + 1e-6) - self._passed, 0, masks.shape[1] - 1)
        )
        self._last = masks[:, kept_from:].copy()
        self._passed += kept_from
        return self._at(masks, at)

    def hold(self, frames: int) -> Masks:
        """`frames` more frames beyond the last mask, which holds."""
        if self._last is None:
            raise ValueError("hold() before any push(): there is no mask to hold")
        newest = self._last[:, -1:]
        return np.repeat(self._at(newest, np.zeros(1)), max(0, frames), axis=1)

    def _at(self, masks: Masks, frame_at: NDArray[np.float64]) -> Masks:
        masks = _interpolate(masks, np.round(frame_at, 6), axis=1)
        beyond = masks[..., self._top :].mean(-1, keepdims=True)
        shares = np.empty((*masks.shape[:2], self._bins), np.float32)
        shares[..., : self._same] = masks[..., : self._same]
        shares[..., self._beyond :] = beyond
        everything = np.concatenate((masks, beyond), axis=-1)
        shares[..., self._same : self._beyond] = _interpolate(everything, self._between_at, axis=2)
        return shares


def _interpolate(values: Masks, at: NDArray[np.float64], axis: int) -> Masks:
    """Values at fractional indices along an axis; indices beyond the ends take the end's value."""
    at = at.clip(0, values.shape[axis] - 1)
    left = np.floor(at).astype(np.int64)
    fraction = (at - left).astype(np.float32)
    below = np.take(values, left, axis)
    if not fraction.any():
        return below
    shape = [1] * values.ndim
    shape[axis] = -1
    above = np.take(values, np.minimum(left + 1, values.shape[axis] - 1), axis)
    below += fraction.reshape(shape) * (above - below)
    return below
