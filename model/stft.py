"""Short-time Fourier transform with perfect reconstruction at every length. Axes: (..., frame, bin)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Spectrum = NDArray[np.complex64]
Samples = NDArray[np.float32]


def square_root_hann(window: int) -> Samples:
    """Periodic square-root Hann window, shape (window,): its square overlap-adds to a constant at hop = window / 2n."""
    return np.sqrt(0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window) / window)).astype(np.float32)


def frame_count(samples: int, window: int, hop: int) -> int:
    """Frames that `analyse` gives for a signal of `samples` samples.

    The signal is padded with `window - hop` zeros in front, so that its very first sample already lies under as many
    frames as every other one; frame n is centred on sample (n + 1) * hop - window / 2.
    """
    return -(-(samples + window - hop) // hop) if samples else 0


def analyse(signal: NDArray[np.floating], window: int, hop: int) -> Spectrum:
    """STFT of real signals.

    Args:
        signal: (..., samples).
        window: window length in samples.
        hop: samples between frames.

    Returns:
        (..., frames, window // 2 + 1) complex64; frames is 0 where samples is 0.
    """
    samples = signal.shape[-1]
    frames = frame_count(samples, window, hop)
    if frames == 0:
        return np.zeros((*signal.shape[:-1], 0, window // 2 + 1), np.complex64)
    front = window - hop
    back = (frames - 1) * hop + window - front - samples
    padded = np.pad(signal.astype(np.float32, copy=False), [(0, 0)] * (signal.ndim - 1) + [(front, back)])
    framed = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)[..., ::hop, :]
    return np.asarray(np.fft.rfft(framed * square_root_hann(window), axis=-1), np.complex64)


def synthesise(spectrum: NDArray[np.complexfloating], samples: int, window: int, hop: int) -> Samples:
    """Inverse of `analyse`: weighted overlap-add with the same window.

    Args:
        spectrum: (..., frames, bins), frames as `analyse` gives for `samples`.
        samples: length of the signal to return.

    Returns:
        (..., samples) float32.
    """
    frames = spectrum.shape[-2]
    if frames == 0:
        return np.zeros((*spectrum.shape[:-2], samples), np.float32)
    pieces = np.fft.irfft(spectrum, n=window, axis=-1).astype(np.float32, copy=False) * square_root_hann(window)
    # A window is a whole number of hops, so overlap-add is window / hop shifted sums of blocks: no loop over frames.
    overlap = window // hop
    blocks = pieces.reshape(*pieces.shape[:-1], overlap, hop)
    summed = np.zeros((*spectrum.shape[:-2], frames + overlap - 1, hop), np.float32)
    for shift in range(overlap):
        summed[..., shift : shift + frames, :] += blocks[..., shift, :]
    # The squared windows sum to overlap / 2 everywhere.
    flat = summed.reshape(*summed.shape[:-2], -1) * np.float32(2.0 / overlap)
    return np.ascontiguousarray(flat[..., window - hop : window - hop + samples])
