"""What happens to voices outside a studio, made by computer: rooms and noise; and how high a voice is.

Axes: (sample,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Samples = NDArray[np.float32]

ROOM_M3, DISTANCE_M = 100.0, 1.0
"""A large office, and somebody a step away from the microphone."""


def in_a_room(signal: Samples, sample_rate: int, rt60_s: float, rng: np.random.Generator) -> Samples:
    """The signal as a microphone hears it in a room whose sound takes `rt60_s` to fall by 60 dB.

    The impulse response is the direct sound and, from 5 ms after it, noise that decays exponentially (Polack's model).
    Its energy follows from the critical distance 0.057 sqrt(V / RT60), at which both are equally loud.
    """
    time = np.arange(round(1.2 * rt60_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60_s) * (time >= 0.005)
    critical_m = 0.057 * np.sqrt(ROOM_M3 / rt60_s)
    tail *= DISTANCE_M / critical_m / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return np.asarray(fftconvolve(signal, tail)[: len(signal)], np.float32)


def at_snr(noise: Samples, speech: Samples, snr_db: float) -> Samples:
    """The noise, as long as the speech (repeated or cut) and `snr_db` below it in energy."""
    noise = np.resize(noise, len(speech))
    ratio = np.sqrt(np.square(speech, dtype=np.float64).sum() / max(np.square(noise, dtype=np.float64).sum(), 1e-12))
    return np.asarray(noise * (ratio * 10.0 ** (-snr_db / 20.0)), np.float32)


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
