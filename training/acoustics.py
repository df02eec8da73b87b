"""What happens to voices outside a studio, made by computer: rooms and noise. Axes: (sample,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Samples = NDArray[np.float32]

ROOM_M3, DISTANCE_M = 100.0, 1.0
"""A large office, and somebody a step away from the microphone."""
CRITICAL_M = 0.057 * ROOM_M3**0.5
"""Over the root of RT60 in seconds: the critical distance, at which direct sound and echo are equally loud."""


def in_a_room(signal: Samples, sample_rate: int, rt60_s: float, rng: np.random.Generator) -> Samples:
    """The signal as a microphone hears it in a room whose sound takes `rt60_s` to fall by 60 dB.

    The impulse response is the direct sound and, from 5 ms after it, noise that decays exponentially (Polack's model).
    Its energy follows from the critical distance 0.057 sqrt(V / RT60), see CRITICAL_M.
    """
    time = np.arange(round(1.2 * rt60_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60_s) * (time >= 0.005)
    critical_m = CRITICAL_M / np.sqrt(rt60_s)
    tail *= DISTANCE_M / critical_m / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return np.asarray(fftconvolve(signal, tail)[: len(signal)], np.float32)


def at_snr(noise: Samples, speech: Samples, snr_db: float) -> Samples:
    """The noise, as long as the speech (repeated or cut) and `snr_db` below it in energy."""
    noise = np.resize(noise, len(speech))
    ratio = np.sqrt(np.square(speech, dtype=np.float64).sum() / max(np.square(noise, dtype=np.float64).sum(), 1e-12))
    return np.asarray(noise * (ratio * 10.0 ** (-snr_db / 20.0)), np.float32)
