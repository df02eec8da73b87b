"""What a speaker encoder hears: the log energies of mel bands, as Kaldi computes them and its networks were taught.

Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512
"""Samples: 25 ms, every 10 ms; and what the spectrum is computed of, with zeros behind the window."""
BANDS = 80
_LOWEST_HZ = 20.0
_EMPHASIS = 0.97
_PEAK = 0.5
"""Samples are brought to it, so that the least energy is as far below what is heard as when the network was taught."""
_LEAST = float(np.finfo(np.float32).eps)


def log_energies(samples: Array) -> Array:
    """(samples,) at 16 kHz, at least one window -> (frames, BANDS), less their mean over time."""
    peak = float(np.abs(samples).max())
    level = np.float32(_PEAK / peak if peak > 0 else 0.0)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * level
    frames = frames - frames.mean(1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
    spectrum = np.fft.rfft((frames - np.float32(_EMPHASIS) * before) * _window(), FFT, axis=1)
    power = np.square(np.abs(spectrum[:, : FFT // 2])).astype(np.float32)
    logs = np.log(np.maximum(power @ _bands(), _LEAST))
    return np.asarray(logs - logs.mean(0), np.float32)


@functools.cache
def _window() -> Array:
    """A Hann window to the power of 0.85."""
    return np.asarray((0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85, np.float32)


@functools.cache
def _bands() -> Array:
    """(FFT / 2, BANDS): triangles, equally wide in mel, from the middle of one neighbour to that of the other."""
    lowest, highest = _mel(np.array([_LOWEST_HZ, SAMPLE_RATE / 2]))
    width = (highest - lowest) / (BANDS + 1)
    middles = lowest + width * np.arange(1, BANDS + 1)
    bins = _mel(np.arange(FFT // 2) * SAMPLE_RATE / FFT)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(bins[:, None] - middles) / width), np.float32)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hz / 700.0))
