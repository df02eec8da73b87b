"""How high a voice is. Axes: (sample,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def median_pitch_hz(signal: Samples, sample_rate: int) -> float:
    """Median fundamental frequency of the voiced frames, by the highest peak of the normalised autocorrelation.

    Returns:
        Hz, 60 to 400; nan where nothing is voiced.
    """
    window, hop = round(0.04 * sample_rate), round(0.01 * sample_rate)
    low, high = sample_rate // 400, sample_rate // 60
    frames = np.lib.stride_tricks.sliding_window_view(signal.astype(np.float64), window + high)[::hop]
    energy = np.square(frames[:, :window]).sum(1)
    frames, energy = frames[energy > 0.1 * energy.mean()], energy[energy > 0.1 * energy.mean()]
    if not len(frames) or not energy.all():
        return float("nan")
    length = 2 ** int(np.ceil(np.log2(window + high)))
    spectrum = np.fft.rfft(frames, length)
    start = np.fft.rfft(frames[:, :window], length)
    correlation = np.fft.irfft(spectrum * start.conj(), length)[:, : high + 1]
    total = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), 1)
    shifted = total[:, window : window + high + 1] - total[:, : high + 1]
    normal = correlation / np.sqrt(np.maximum(energy[:, None] * shifted, 1e-12))
    inside = normal[:, low:high]
    is_peak = (inside >= normal[:, low - 1 : high - 1]) & (inside >= normal[:, low + 1 : high + 1])
    heights = np.where(is_peak, inside, 0.0)
    highest = heights.max(1)
    # The first peak that is nearly as high: later ones are multiples of the period.
    lag = low + (heights >= 0.9 * highest[:, None]).argmax(1)
    voiced = highest > 0.7
    return float(sample_rate / np.median(lag[voiced])) if voiced.any() else float("nan")
