"""The spatial filter over a recording of any length, block by block, so that memory does not grow with it.

Each block of a few seconds gets its own filters; what is known of where a source is passes on from block to block and
fades, so that a source that is silent for a while keeps its place and one that moves is followed.

Axes: (source, frame, bin) for masks, (channel, frame, bin) for spectra, (source, channel, frame, bin) for images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from unmingle.model.signal.masks import Masks
from unmingle.model.signal.stft import Spectrum
from unmingle.model.spatial import hermitian, mixture, moving, wiener
from unmingle.model.threads import usable_cores

Images = NDArray[np.complex64]
Level = NDArray[np.float32]
"""(bins, channels, 1)."""
Present = NDArray[np.intp]
Missing = NDArray[np.bool_]

_MOST_FRAMES, _FEWEST_FRAMES = 256, 64
"""Of a block: 8 to 2 s."""
_BLOCK_BYTES = 96 * 1024 * 1024
"""About how much the spectra and images of one block may take."""
_BINS_AT_ONCE = 64
"""Few enough for the processor's cache, and enough that NumPy's calls cost little."""
_CUT_OFF = 1e-9
"""Power of a frame beside the mean of its channel; with less, nothing is connected."""
_SOON_BACK = 0.02
"""Part of a block in which a channel may be cut off and still be like the others."""
_HARDLY_THERE = 0.9
"""Part of a block without a channel from which on it tells nothing."""
_MOST_THREADS = 4
_REMEMBERED = 0.5
"""How much of what earlier blocks found counts in the next one."""


@dataclasses.dataclass(frozen=True)
class Locating:
    """How to use where sounds come from.

    Attributes:
        channels: which ones say it, from 0, at least two.
        enhance: apply the masks to the images of the sources once more. They no longer add up to the recording.
        heard: the channel that the network heard; None for the power of all.
    """

    channels: tuple[int, ...]
    enhance: bool = False
    heard: int | None = None


@dataclasses.dataclass(frozen=True)
class SpatialReport:
    """How several channels were used together.

    Attributes:
        channels: which ones said where sounds come from, from 0.
        expected_gain_db: how much less of the recording's power is in doubt than by one channel's masks: the model's
            own estimate, which knows nothing of the truth.
        enhanced: whether stems were cleaned further, and do not add up to the recording.
        heard: the channel that the network heard, from 0; None for the power of all.
    """

    channels: tuple[int, ...]
    expected_gain_db: float
    enhanced: bool = False
    heard: int | None = None


@dataclasses.dataclass(frozen=True)
class _Remembered:
    """Where the sources were in some bins.

    Attributes:
        scatter: (sources, bins, channels, channels) at the recording's own levels, of trace 1.
        mass: (sources, bins) how much it counts.
    """

    scatter: NDArray[np.complex128]
    mass: NDArray[np.float64]

    @classmethod
    def of(
        cls, scatter: mixture.Shapes, level: Level, present: Present, sources: int, before: _Remembered | None
    ) -> _Remembered:
        """What a block found at its levels, for the sources that were in it; others are as they were before."""
        trace = np.trace(scatter, axis1=2, axis2=3).real
        placed = _of_trace_one(scatter * (level.astype(np.float64) * level.transpose(0, 2, 1)))
        whole = np.zeros((sources, *placed.shape[1:]), np.complex128) if before is None else before.scatter.copy()
        mass = np.zeros((sources, placed.shape[1])) if before is None else before.mass.copy()
        whole[present], mass[present] = placed, trace
        return cls(whole, mass)

    def at(self, level: Level, present: Present) -> mixture.Shapes:
        """The scatter as it is to count in a block of these levels."""
        seen = _of_trace_one(self.scatter[present] / (level.astype(np.float64) * level.transpose(0, 2, 1)))
        return np.asarray(seen * (_REMEMBERED * self.mass[present])[..., None, None], np.complex64)


def _of_trace_one(scatter: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    trace = np.trace(scatter, axis1=2, axis2=3).real[..., None, None]
    return np.asarray(np.divide(scatter, trace, out=np.zeros(scatter.shape, np.complex128), where=trace > 0))


class SpatialFilter:
    """Masks of the network and the channels' spectra -> the image of every source in every channel."""

    stage = "locate"
    needed = None
    """Of the masks: all are."""

    def __init__(self, rows: int, locating: Locating) -> None:
        """Args: rows: how many of the sources to give, from the first on. Channels that locate nothing get masks."""
        self._locating = locating
        self._rows, self._channels = rows, list(locating.channels)
        self._masks: list[Masks] = []
        self._spectra: list[Spectrum] = []
        self._frames = 0
        self._before: dict[int, _Remembered] = {}
        self._doubt_before = self._doubt_after = 0.0

    def push(self, masks: Masks, spectrum: Spectrum) -> Iterator[Images]:
        """Take (sources, frames, bins) masks and (channels, frames, bins); gives (rows, channels, frames, bins)."""
        self._masks.append(masks)
        self._spectra.append(spectrum)
        self._frames += spectrum.shape[1]
        bytes_per_frame = 8 * len(spectrum) * spectrum.shape[2] * (self._rows + 2)
        block = max(_FEWEST_FRAMES, min(_MOST_FRAMES, _BLOCK_BYTES // bytes_per_frame))
        # Half a block more, so that the last one is never too short to learn from.
        while self._frames >= block + block // 2:
            yield self._next(block)

    def finish(self) -> Iterator[Images]:
        """What is left."""
        if self._frames:
            yield self._next(self._frames)

    @property
    def report(self) -> SpatialReport:
        """What was done, so far."""
        gain = 1.0
        if self._doubt_before > 0:
            gain = self._doubt_before / max(self._doubt_after, 1e-3 * self._doubt_before)
        used = self._locating
        return SpatialReport(used.channels, float(10.0 * np.log10(gain)), used.enhance, used.heard)

    def _next(self, frames: int) -> Images:
        masks, spectrum = np.concatenate(self._masks, axis=1), np.concatenate(self._spectra, axis=1)
        self._masks, self._spectra = [masks[:, frames:]], [spectrum[:, frames:]]
        self._frames -= frames
        images = np.empty((self._rows, len(spectrum), frames, spectrum.shape[2]), np.complex64)
        self._block(masks[:, :frames], spectrum[:, :frames], images)
        return images

    def _block(self, masks: Masks, spectrum: Spectrum, images: Images) -> None:
        """Fill in (rows, channels, frames, bins)."""
        frames = spectrum.shape[1]
        sources = masks[: self._rows] if self._rows > 1 else masks
        cut_off = self._cut_off(spectrum)
        connected = sources * ~np.any(cut_off, axis=0, keepdims=True).T if cut_off.any() else sources
        if frames >= _FEWEST_FRAMES and moving.moved(connected, spectrum[list(self._locating.channels)]):
            # What is known of the places is of no use any more, and each half has its own.
            for part in (slice(None, frames // 2), slice(frames // 2, None)):
                self._before.clear()
                self._block(masks[:, part], spectrum[:, part], images[:, :, part])
            return
        # A class that the network finds nothing of, such as a background where there is none, takes no part.
        present = np.flatnonzero(masks.any((1, 2)))
        images[[row for row in range(self._rows) if row not in present]] = 0.0
        located_by = self._working(cut_off)
        if located_by != self._channels:
            self._before.clear()
        self._channels = located_by
        if len(located_by) < 2:
            np.multiply(masks[: self._rows, None], spectrum, out=images)
            return

        missing = cut_off[[self._locating.channels.index(channel) for channel in located_by]]

        def work(first: int) -> tuple[float, float]:
            bins = slice(first, first + _BINS_AT_ONCE)
            return self._filter(first, masks[..., bins], spectrum[..., bins], present, missing, images[..., bins])

        # Bins do not depend on each other, and NumPy lets other threads run while it computes.
        with ThreadPoolExecutor(min(_MOST_THREADS, usable_cores())) as pool:
            for before, after in pool.map(work, range(0, spectrum.shape[2], _BINS_AT_ONCE)):
                self._doubt_before += before
                self._doubt_after += after

    def _cut_off(self, spectrum: Spectrum) -> Missing:
        """(channels that locate, frames): where one is cut off, or mutes itself, while others are not."""
        power = hermitian.power(spectrum[list(self._locating.channels)]).sum(-1)
        heard = power > _CUT_OFF * power.mean(1, keepdims=True)
        # Where no channel has sound, the recording is silent, and nothing is broken.
        return np.asarray(heard.any(0) & ~heard)

    def _working(self, cut_off: Missing) -> list[int]:
        """The channels to locate by: those that are there all the time, if there are two.

        Else those that are there for a while: somebody's microphone is muted while others speak. What was known of one
        that is gone goes on, for who is not near the last one cannot be in it.
        """
        missing = cut_off.mean(1)

        def there(most: float) -> list[int]:
            return [c for c, part in zip(self._locating.channels, missing, strict=True) if part <= most]

        for most in (_SOON_BACK, _HARDLY_THERE):
            if len(there(most)) > 1:
                return there(most)
        return self._channels if self._before else there(_HARDLY_THERE)

    def _filter(
        self, first: int, masks: Masks, spectrum: Spectrum, present: Present, missing: Missing, images: Images
    ) -> tuple[float, float]:
        """Fill in (rows, channels, frames, bins) of a few bins; gives the power in doubt before and after."""
        prior = np.ascontiguousarray(masks[present].transpose(0, 2, 1))
        heard = np.ascontiguousarray(spectrum[self._channels].transpose(2, 0, 1))
        power = hermitian.power(heard)
        gaps = missing.any(0)
        level = _level(power, missing)
        level += np.float32(1e-6) * level.max(1, keepdims=True) + np.float32(1e-18)
        heard /= level
        remembered = self._before.get(first)
        before = None if remembered is None else remembered.at(level, present)
        # A direction without one of the channels is another one.
        located = mixture.locate(heard * ~gaps if gaps.any() else heard, prior, before)
        located.masks[..., gaps] = prior[..., gaps]
        self._before[first] = _Remembered.of(located.scatter, level, present, len(masks), remembered)
        wanted = [row for row in present if row < self._rows]
        gone = missing if gaps.any() else None
        found = wiener.images(heard, located.masks, located.shapes, len(wanted), gone)
        others = [channel for channel in range(len(spectrum)) if channel not in self._channels]
        for row, image, mask in zip(wanted, found, located.masks, strict=False):
            np.multiply(image, level * np.sqrt(mask)[:, None] if self._locating.enhance else level, out=image)
            for place, channel in enumerate(self._channels):
                images[row, channel] = image[:, place].T
            for channel in others:
                images[row, channel] = spectrum[channel] * mask.T
        whole = power.sum(1)
        return _in_doubt(prior, whole), _in_doubt(located.masks, whole)


def _level(power: NDArray[np.float32], missing: Missing) -> Level:
    """Of each channel while it is there; one that never is counts as loud as the others, and says nothing."""
    if not missing.any():
        return np.asarray(np.sqrt(power.mean(2, keepdims=True)))
    there = (~missing).sum(1)
    mean = (power * ~missing).sum(2) / np.maximum(there, 1)
    mean[:, there == 0] = mean[:, there > 0].mean(1, keepdims=True)
    return np.asarray(np.sqrt(mean[..., None]), np.float32)


def _in_doubt(masks: Masks, power: NDArray[np.float32]) -> float:
    """The error to expect of (sources, bins, frames) masks, read as chances, on (bins, frames) power."""
    return float(((1.0 - np.square(masks).sum(0)) * power).sum(dtype=np.float64))
