"""Take away what nobody hears before the network listens: DC, rumble, the fundamental of mains hum."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Samples

CUTOFF_HZ = 80.0
"""Where half of the amplitude is left. Below the pitch of nearly all voices, above the fundamental of mains hum."""
_TRANSITION_HZ = 40.0


def kernel(sample_rate: int) -> NDArray[np.float32]:
    """Impulse response of the high-pass, (2 n + 1,) taps around its centre: a windowed sinc (Hamming), no delay."""
    half = int(np.ceil(1.65 * sample_rate / _TRANSITION_HZ))
    time = np.arange(-half, half + 1) / sample_rate
    low = 2.0 * CUTOFF_HZ / sample_rate * np.sinc(2.0 * CUTOFF_HZ * time) * np.hamming(2 * half + 1)
    high = -low / low.sum()
    high[half] += 1.0
    return np.asarray(high, np.float32)


@functools.lru_cache(maxsize=8)  # recordings come at a few rates only
def _response(sample_rate: int) -> tuple[int, int, NDArray[np.complex64]]:
    """Taps on each side of the kernel's centre, size of a block, and the kernel's spectrum for such blocks."""
    taps = kernel(sample_rate)
    size = 1 << (8 * len(taps)).bit_length()
    return len(taps) // 2, size, np.asarray(np.fft.rfft(taps, size), np.complex64)


class HighPass:
    """The high-pass over a signal that comes in pieces; what comes out is in step with what went in.

    It works in blocks of one size (overlap-save), so that what comes out does not depend on how the signal was cut.

    Attributes:
        energy_in, energy_out: of all that went in, and of all that came out, so far.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._half, self._size, self._response = _response(sample_rate)
        self.energy_in = self.energy_out = 0.0
        # A signal comes out of nothing, and ends in nothing.
        self._waiting = np.zeros((channels, self._half), np.float32)

    def push(self, samples: Samples) -> Samples:
        """(channels, n) next samples -> (channels, m), what is ready by now."""
        self.energy_in += float(np.square(samples, dtype=np.float64).sum())
        self._waiting = np.concatenate((self._waiting, samples), axis=-1)
        step = self._size - 2 * self._half
        ready = []
        while self._waiting.shape[-1] >= self._size:
            ready.append(self._filtered(self._waiting[:, : self._size]))
            self._waiting = self._waiting[:, step:]
        return np.concatenate(ready, axis=-1) if ready else self._waiting[:, :0]

    def finish(self) -> Samples:
        """What is still missing; in all, there is as much as was pushed."""
        missing = self._waiting.shape[-1] - self._half
        rest = self.push(np.zeros((len(self._waiting), self._half), np.float32))
        missing -= rest.shape[-1]
        last = np.zeros((len(self._waiting), self._size), np.float32)
        last[:, : self._waiting.shape[-1]] = self._waiting
        return np.concatenate((rest, self._filtered(last)[:, :missing]), axis=-1)

    def _filtered(self, block: Samples) -> Samples:
        """(channels, size) -> (channels, step): what does not depend on samples outside of the block."""
        found = np.fft.irfft(np.fft.rfft(block) * self._response, self._size)
        kept = np.asarray(found[:, 2 * self._half :], np.float32)
        self.energy_out += float(np.square(kept, dtype=np.float64).sum())
        return kept

    @property
    def removed(self) -> float:
        """Part of the energy that nobody hears, 0 to 1; 0 of silence."""
        return max(0.0, 1.0 - self.energy_out / self.energy_in) if self.energy_in > 0 else 0.0
