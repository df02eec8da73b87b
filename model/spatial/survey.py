"""Which channels of a recording say where a sound comes from, and which one is the best. Axes: (channel, sample)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Recording

_SILENT = 1e-5
"""Power of a channel beside the loudest one; with less, it is not connected."""
_SAME = 0.99999
"""Correlation of channels of which one is the other, whatever its level and sign: less than -50 dB of difference."""
_FRAME_S = 0.02
_LOWEST_DB, _HIGHEST_DB = -200, 201
_RANGE_DB = 60
"""Of an envelope, below its loudest frame; what is lower is silence."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the channels are good for.

    Attributes:
        located_by: channels, from 0, that are heard and are not the same as an earlier one.
        reference: the channel whose envelope varies most: the least reverberant and noisy one (Wolf and Nadeu,
            "Channel selection measures for multi-microphone speech recognition", 2014).
    """

    located_by: tuple[int, ...]
    reference: int


def survey(recording: Recording, locate: bool) -> Survey:
    """Read a recording once and look at its channels. Without `locate`, none of them is to be located by."""
    channels = recording.channels
    products = np.zeros((channels, channels))
    frame = max(1, round(_FRAME_S * recording.sample_rate))
    levels = np.zeros((channels, _HIGHEST_DB - _LOWEST_DB), np.int64)
    for block in recording.blocks():
        products += (block @ block.T).astype(np.float64)
        whole = block[:, : block.shape[1] // frame * frame].reshape(channels, -1, frame)
        energy = np.einsum("cfs,cfs->cf", whole, whole, dtype=np.float64) / frame
        decibels = np.clip(np.round(10.0 * np.log10(energy + 1e-20)), _LOWEST_DB, _HIGHEST_DB - 1).astype(int)
        levels += np.stack([np.bincount(row, minlength=levels.shape[1]) for row in decibels - _LOWEST_DB])
    power = np.diagonal(products)
    located_by: list[int] = []
    for channel in np.flatnonzero((power > 0) & (power >= _SILENT * power.max())):
        alike = np.abs(products[channel, located_by]) / np.sqrt(power[channel] * power[located_by])
        if not (alike > _SAME).any():
            located_by.append(int(channel))
    return Survey(tuple(located_by) if locate else (), _liveliest(levels, power))


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
