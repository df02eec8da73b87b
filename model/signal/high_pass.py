"""Take away what nobody hears before the network listens: DC, rumble, the fundamental of mains hum."""

from __future__ import annotations

import functools
from collections.abc import Iterable

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

    It works in blocks of one size (overlap-save), so that what comes out does not depend on how the signal was cut, nor
    on where in the signal it began.

    Attributes:
        reads_from: the first sample that it is to be given.
        gives_from: the first sample that comes out.
        energy: of every block, before and after.
    """

    def __init__(self, sample_rate: int, channels: int, first_sample: int = 0) -> None:
        """Args: first_sample: what comes before it is not needed."""
        self._half, self._size, self._response = _response(sample_rate)
        step = self._size - 2 * self._half
        first_block = max(0, first_sample) // step
        self.gives_from = first_block * step
        self.reads_from = max(0, self.gives_from - self._half)
        self.energy = BlockEnergy(first_block)
        # A signal comes out of nothing, and ends in nothing.
        self._waiting = np.zeros((channels, 0 if first_block else self._half), np.float32)

    def push(self, samples: Samples) -> Samples:
        """(channels, n) next samples -> (channels, m), what is ready by now."""
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
        self.energy.add(block[:, self._half : self._size - self._half], kept)
        return kept


class BlockEnergy:
    """How much energy the high-pass takes away, block by block; parts of a signal can be joined."""

    def __init__(self, first_block: int = 0, blocks: Iterable[tuple[float, float]] = ()) -> None:
        self.first_block, self.blocks = first_block, [(before, after) for before, after in blocks]

    def add(self, before: Samples, after: Samples) -> None:
        """Take in the next block."""
        self.blocks.append((_energy(before), _energy(after)))

    def extend(self, later: BlockEnergy) -> None:
        """Go on with what follows in the same signal, which may begin with blocks that are here already."""
        del self.blocks[later.first_block - self.first_block :]
        self.blocks += later.blocks

    @property
    def removed(self) -> float:
        """Part of the energy that nobody hears, 0 to 1; 0 of silence."""
        before, after = (sum(column) for column in zip(*self.blocks, strict=True)) if self.blocks else (0.0, 0.0)
        return max(0.0, 1.0 - after / before) if before > 0 else 0.0


def _energy(samples: Samples) -> float:
    return float(np.square(samples, dtype=np.float64).sum())
