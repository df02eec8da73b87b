"""The active speech level of ITU-T P.56, method B: the level of a recording while somebody speaks.

wsj0-mix gives levels relative to it. Its authors used the function `activlev` of VOICEBOX for Matlab; that ours gives
the same levels has not been verified.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_TIME_CONSTANT_S = 0.03
_HANGOVER_S = 0.2
_MARGIN_DB = 15.9
_STEP_DB = 0.5
_RANGE_DB = 110.0


def active_level_db(samples: NDArray[np.floating], sample_rate: int) -> float:
    """Level in dB of full scale 1 over the time in which the envelope is less than 15.9 dB below that level.

    Args:
        samples: (samples,).
        sample_rate: Hz.

    Returns:
        -inf for silence.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import lfilter

    energy = float(np.square(samples, dtype=np.float64).sum())
    if not energy:
        return -math.inf
    decay = math.exp(-1.0 / (sample_rate * _TIME_CONSTANT_S))
    smoothed = lfilter([1.0 - decay], [1.0, -decay], np.abs(samples.astype(np.float64)))
    envelope = lfilter([1.0 - decay], [1.0, -decay], smoothed)
    hangover = math.ceil(_HANGOVER_S * sample_rate)
    # At or above a threshold now or within the hangover before: the largest of the last samples is.
    held = np.sort(maximum_filter1d(envelope, hangover, origin=(hangover - 1) // 2, mode="constant"))
    highest_db = 20.0 * math.log10(float(held[-1]))
    thresholds_db = highest_db - np.arange(_RANGE_DB, -_STEP_DB / 2, -_STEP_DB)
    active = len(held) - np.searchsorted(held, 10.0 ** (thresholds_db / 20.0) * (1.0 - 1e-12))
    levels_db = 10.0 * np.log10(energy / active)
    # The margin falls as the threshold rises.
    margins_db = levels_db - thresholds_db
    return float(np.interp(-_MARGIN_DB, -margins_db, levels_db))
