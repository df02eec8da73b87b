"""Which channels of a recording say where a sound comes from, which is the best, and which one the network hears.

Axes: (channel, sample).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import OneChannel, Recording, Samples

_SILENT = 1e-5
"""Power of a channel beside the loudest one; with less, it is not connected."""
_SAME = 0.99999
"""Correlation of channels of which one is the other, whatever its level and sign: less than -50 dB of difference."""
_FRAME_S = 0.02
_FRAMES_AT_ONCE = 50
_LOWEST_DB, _HIGHEST_DB = -200, 201
_RANGE_DB = 60
"""Of an envelope, below its loudest frame; what is lower is silence."""
_AUDIBLE_DB = 40
"""Below the loudest frame: frames that are compared between channels."""
_ALIKE_DB = 1.2
"""Deviation of a channel's level from that of all channels together. Microphones within 10 cm have 0.2 to 1.0 dB,
microphones all over a table 1.4 dB and more, voices at different places of a stereo mix 2.3 dB and more."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the channels are good for.

    Attributes:
        located_by: channels, from 0, that are heard and are not the same as an earlier one.
        reference: the channel whose envelope varies most: the least reverberant and noisy one (Wolf and Nadeu,
            "Channel selection measures for multi-microphone speech recognition", 2014).
        heard: the channel that the network is to hear; None for the power of all of them together. One channel sounds
            like what the network was trained on, and serves where every source is in every channel alike.
    """

    located_by: tuple[int, ...]
    reference: int
    heard: int | None


def survey(recording: Recording, locate: bool) -> Survey:
    """Read a recording once and look at its channels. Without `locate`, none of them is to be located by."""
    channels = recording.channels
    products = np.zeros((channels, channels))
    frame = max(1, round(_FRAME_S * recording.sample_rate))
    levels = np.zeros((channels, _HIGHEST_DB - _LOWEST_DB), np.int64)
    likeness = _Likeness(channels)
    for block in _in_whole_frames(recording, frame):
        products += (block @ block.T).astype(np.float64)
        whole = block.reshape(channels, -1, frame)
        energy = np.einsum("cfs,cfs->cf", whole, whole, dtype=np.float64) / frame
        levels += np.stack([np.bincount(row, minlength=levels.shape[1]) for row in _rounded_db(energy)])
        likeness.push(energy)
    power = np.diagonal(products)
    located_by: list[int] = []
    for channel in np.flatnonzero((power > 0) & (power >= _SILENT * power.max())):
        alike = np.abs(products[channel, located_by]) / np.sqrt(power[channel] * power[located_by])
        if not (alike > _SAME).any():
            located_by.append(int(channel))
    reference = _liveliest(levels, power)
    working = power >= _SILENT * power.max()
    heard = reference if (likeness.deviation_db()[working] < _ALIKE_DB).all() else None
    return Survey(tuple(located_by) if locate else (), reference, heard)


def _in_whole_frames(recording: Recording, frame: int) -> Iterator[Samples]:
    """Blocks of the same whole frames, however the recording comes; what is less than a frame at its end is left out.

    What was decided must not depend on whether the recording is a file, an upload or an array.
    """
    rest = np.zeros((recording.channels, 0), np.float32)
    for block in recording.blocks():
        rest = np.concatenate((rest, block), axis=1)
        ready = rest.shape[1] // (_FRAMES_AT_ONCE * frame) * _FRAMES_AT_ONCE * frame
        for start in range(0, ready, _FRAMES_AT_ONCE * frame):
            yield rest[:, start : start + _FRAMES_AT_ONCE * frame]
        rest = rest[:, ready:]
    yield rest[:, : rest.shape[1] // frame * frame]


def what_the_network_hears(recording: Recording, surveyed: Survey | None) -> Recording:
    """The channel that serves best, or all of them."""
    return recording if surveyed is None or surveyed.heard is None else OneChannel(recording, surveyed.heard)


class _Likeness:
    """How the levels of channels differ over time, by the level of all of them, as the loudest frame is known last."""

    def __init__(self, channels: int) -> None:
        self._frames = np.zeros(_HIGHEST_DB - _LOWEST_DB)
        self._sums, self._squares = np.zeros((2, channels, len(self._frames)))

    def push(self, energy: NDArray[np.float64]) -> None:
        """Take the (channels, frames) energies of the next frames."""
        together = energy.mean(0)
        level = _rounded_db(together)
        # A channel may be silent for a while: far from the others, and yet a number.
        difference = 10.0 * np.log10((energy + 1e-20) / (together + 1e-20))
        size = len(self._frames)
        self._frames += np.bincount(level, minlength=size)
        self._sums += np.stack([np.bincount(level, row, size) for row in difference])
        self._squares += np.stack([np.bincount(level, np.square(row), size) for row in difference])

    def deviation_db(self) -> NDArray[np.float64]:
        """(channels,) standard deviation, over frames that are loud enough to be heard; 0 without any."""
        loudest = int(np.flatnonzero(self._frames)[-1]) if self._frames.any() else 0
        audible = slice(max(0, loudest - _AUDIBLE_DB), None)
        count = max(1.0, self._frames[audible].sum())
        means, squares = self._sums[:, audible].sum(1) / count, self._squares[:, audible].sum(1) / count
        return np.asarray(np.sqrt(np.maximum(0.0, squares - np.square(means))))


def _rounded_db(energy: NDArray[np.float64]) -> NDArray[np.int64]:
    """Levels in whole dB, from 0 at the lowest."""
    decibels = np.round(10.0 * np.log10(energy + 1e-20))
    return np.clip(decibels, _LOWEST_DB, _HIGHEST_DB - 1).astype(np.int64) - _LOWEST_DB


def _liveliest(levels: NDArray[np.int64], power: NDArray[np.float64]) -> int:
    """The channel with the largest variance of its level in dB, of (channels, levels) histograms of frames."""
    at = np.arange(levels.shape[1])
    spread = np.full(len(levels), -1.0)
    for channel, histogram in enumerate(levels):
        if power[channel] < _SILENT * power.max() or not histogram.any():
            continue
        bounded = np.maximum(at, np.flatnonzero(histogram)[-1] - _RANGE_DB)
        mean = np.average(bounded, weights=histogram)
        spread[channel] = np.average(np.square(bounded - mean), weights=histogram)
    return int(spread.argmax())
