"""What the network sees of a spectrum, and how much each part counts. Axes: (..., frame, bin or band)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig

Magnitude = NDArray[np.float32]


def band_magnitude(power: NDArray[np.float32], config: ModelConfig) -> Magnitude:
    """Magnitude of each band: the root of the power of its bins.

    Args:
        power: (..., frames, bins), |X|^2, not negative.

    Returns:
        (..., frames, bands).
    """
    low, group = config.full_resolution_bins, config.high_group
    bands = np.empty((*power.shape[:-1], config.bands), np.float32)
    bands[..., :low] = power[..., :low]
    high = bands[..., low:]
    high[...] = power[..., low::group]
    for place in range(1, group):  # NumPy is slow at the sums of many short rows
        high += power[..., low + place :: group]
    return np.sqrt(bands, out=bands)


LOUD_PERCENT = 3
"""The loudest frames that a level must not depend on: a bang, a click, a cough into the microphone."""
HEARD_DB = -40.0
"""Frames this far below loud ones are silence, which says nothing about how loud the others should be."""
HEADROOM_DB = 3.0
"""How far the loudest frames may stand out of the others where the network hears them."""
BANG_FRAMES = 12
"""A tenth of a second: what is as loud for longer is no bang."""


def loud_frame(frames: int) -> int:
    """Rank, from soft to loud, of a frame that is loud and no bang."""
    return frames - 1 - min(BANG_FRAMES, frames // 8)


def limits(magnitude: Magnitude) -> Magnitude:
    """Gain of each frame, 1 but for the loudest hundredths, which are limited to the loudest of the others.

    They are hundredths of the frames in which something is heard: a word in a long silence is no bang.

    Args:
        magnitude: (..., frames, bands), not negative.

    Returns:
        (..., frames, 1).
    """
    energy = np.square(magnitude, dtype=np.float64).sum(-1, keepdims=True)
    frames = energy.shape[-2]
    if not frames:
        return np.asarray(energy, np.float32)
    ordered = np.sort(energy, axis=-2)
    loud = ordered[..., loud_frame(frames), None, :]
    heard = energy > loud * 10.0 ** (HEARD_DB / 10.0)
    rank = frames - 1 - heard.sum(-2, keepdims=True) * LOUD_PERCENT // 100
    most = np.take_along_axis(ordered, rank, -2)
    gain = np.divide(most, energy, out=np.ones_like(energy), where=energy > most)
    return np.asarray(np.sqrt(gain), np.float32)


def log_magnitude(magnitude: Magnitude, floor_db: float) -> Magnitude:
    """Log-magnitude features, the same whatever the recording's level.

    ln(|X| / rms + floor): `rms` is over the frames and bands of one item, its loudest frames limited, so turning the
    recording up or down changes nothing, and a bang hardly anything; the floor keeps silence finite. In |X|, too, the
    loudest frames are limited, to HEADROOM_DB above the others, since a bang would spoil what the network makes of the
    frames around it. An item of zeros gives the floor everywhere.

    Args:
        magnitude: (..., frames, bands), not negative.
        floor_db: the floor in dB relative to the RMS magnitude, negative.
    """
    gains = limits(magnitude)
    limited = np.square(magnitude * gains, dtype=np.float64)
    rms = np.sqrt(np.mean(limited, axis=(-2, -1), keepdims=True))
    scale = np.divide(1.0, rms, out=np.zeros_like(rms), where=rms > 0).astype(np.float32)
    heard = magnitude * (np.minimum(gains * np.float32(10.0 ** (HEADROOM_DB / 20.0)), np.float32(1.0)) * scale)
    return np.asarray(np.log(heard + np.float32(10.0 ** (floor_db / 20.0))), np.float32)


def clustering_weights(magnitude: Magnitude, active_db: float = -40.0) -> Magnitude:
    """Weight of each band of each frame in clustering: its magnitude, or 0 where it is not active.

    Active is what lies within `active_db` of the loudest (the paper's silence threshold). Weighting by magnitude
    rather than treating all that is active alike lets the bins that carry the sound place the centroids. The loudest
    frames are limited, as in `log_magnitude`; those that stand out even so are bangs, which are nobody's voice.

    Args:
        magnitude: (frames, bands).
        active_db: threshold in dB relative to the loudest, negative.
    """
    gains = limits(magnitude)
    limited = magnitude * gains
    peak = float(limited.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros_like(magnitude)
    counts = (limited >= peak * 10.0 ** (active_db / 20.0)) & (gains >= 10.0 ** (-HEADROOM_DB / 20.0))
    return np.where(counts, limited / np.float32(peak), np.float32(0.0))
