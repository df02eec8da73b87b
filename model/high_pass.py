"""Take away what nobody hears before the network listens: DC, rumble, the fundamental of mains hum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.recording import Samples

CUTOFF_HZ = 80.0
"""Where half of the amplitude is left. Below the pitch of nearly all voices, above the fundamental of mains hum."""
_TRANSITION_HZ = 40.0


def kernel(sample_rate: int) -> NDArray[np.float32]:
    """Impulse response of the high-pass, (2 n + 1,) taps around its centre: a windowed sinc (Hamming) without delay."""
    half = int(np.ceil(1.65 * sample_rate / _TRANSITION_HZ))
    time = np.arange(-half, half + 1) / sample_rate
    low = 2.0 * CUTOFF_HZ / sample_rate * np.sinc(2.0 * CUTOFF_HZ * time) * np.hamming(2 * half + 1)
    high = -low / low.sum()
    high[half] += 1.0
    return np.asarray(high, np.float32)


class HighPass:
    """The high-pass over a signal that comes in pieces; what comes out is in step with what went in."""

    def __init__(self, sample_rate: int) -> None:
        self._kernel = kernel(sample_rate)
        self._half = len(self._kernel) // 2
        # A signal begins and ends out of nothing: what is held before it would ring.
        self._waiting = np.zeros(self._half, np.float32)

    def push(self, samples: Samples) -> Samples:
        """(n,) next samples -> what is ready by now, later by half the kernel."""
        self._waiting = np.concatenate((self._waiting, samples))
        ready = len(self._waiting) - 2 * self._half
        if ready <= 0:
            return np.zeros(0, np.float32)
        found = _convolved(self._waiting, self._kernel)
        self._waiting = self._waiting[ready:]
        return found

    def finish(self) -> Samples:
        """What is still missing."""
        return self.push(np.zeros(self._half, np.float32))


def _convolved(samples: Samples, taps: Samples) -> Samples:
    """The part of a convolution in which the taps lie within the samples."""
    size = 1 << (len(samples) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(taps, size)
    return np.asarray(np.fft.irfft(spectrum, size)[len(taps) - 1 : len(samples)], np.float32)
