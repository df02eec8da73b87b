"""Many small Hermitian matrices at once. Axes: (channel, ...), where ... are the matrices, unless said otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex64]
Lower = list[list[NDArray[np.complex64]]]
"""Rows of the lower triangle: row i has i + 1 arrays of shape (...)."""

_ROOT_2 = np.float32(np.sqrt(2.0))


def power(vectors: Complex) -> NDArray[np.float32]:
    """|z|^2, element by element; several times as fast as the square of np.abs."""
    squares = np.square(vectors.real)
    squares += np.square(vectors.imag)
    return squares


def outer(vectors: Complex) -> NDArray[np.float32]:
    """z z' of (bins, channels, frames) vectors, as `pack` gives it: (bins, channels ** 2, frames)."""
    bins, channels, frames = vectors.shape
    packed = np.empty((bins, channels * channels, frames), np.float32)
    real, imaginary = np.ascontiguousarray(vectors.real), np.ascontiguousarray(vectors.imag)
    for i in range(channels):
        packed[:, i] = real[:, i] * real[:, i] + imaginary[:, i] * imaginary[:, i]
    real *= _ROOT_2
    scaled = imaginary * _ROOT_2
    for place, (i, j) in enumerate(_pairs(channels)):
        own, other = vectors.real[:, j], vectors.imag[:, j]
        packed[:, channels + 2 * place] = real[:, i] * own + scaled[:, i] * other
        packed[:, channels + 2 * place + 1] = scaled[:, i] * own - real[:, i] * other
    return packed


def pack(matrices: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    """(..., channels, channels) Hermitian -> (..., channels ** 2) real: tr(AB) becomes an inner product."""
    channels = matrices.shape[-1]
    packed = np.empty((*matrices.shape[:-2], channels * channels), np.float32)
    packed[..., :channels] = np.diagonal(matrices, axis1=-2, axis2=-1).real
    for place, (i, j) in enumerate(_pairs(channels)):
        packed[..., channels + 2 * place] = matrices[..., i, j].real * _ROOT_2
        packed[..., channels + 2 * place + 1] = matrices[..., i, j].imag * _ROOT_2
    return packed


def unpack(packed: NDArray[np.float32]) -> Complex:
    """What was given to `pack`."""
    channels = round(np.sqrt(packed.shape[-1]))
    matrices = np.zeros((*packed.shape[:-1], channels, channels), np.complex64)
    for i in range(channels):
        matrices[..., i, i] = packed[..., i]
    for place, (i, j) in enumerate(_pairs(channels)):
        at = channels + 2 * place
        matrices[..., i, j] = (packed[..., at] + 1j * packed[..., at + 1]) / _ROOT_2
        matrices[..., j, i] = matrices[..., i, j].conj()
    return matrices


def _pairs(channels: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(channels) for j in range(i)]


def solve(lower: Lower, right: Complex) -> Complex:
    """V^-1 x by LDL^H, all systems side by side; LAPACK takes ten times as long for matrices this small.

    Args:
        lower: of V, positive definite; overwritten.
        right: (channels, ...) x.

    Returns:
        (channels, ...).
    """
    size = len(lower)
    inverse_pivots = []
    for j in range(size):
        inverse_pivot = 1.0 / lower[j][j].real
        scaled = [lower[i][j] * inverse_pivot for i in range(j + 1, size)]
        for k in range(j + 1, size):
            conjugate = lower[k][j].conj()
            for i in range(k, size):
                lower[i][k] -= scaled[i - j - 1] * conjugate
        for i in range(j + 1, size):
            lower[i][j] = scaled[i - j - 1]
        inverse_pivots.append(inverse_pivot)
    found = right.copy()
    for i in range(size):
        for j in range(i):
            found[i] -= lower[i][j] * found[j]
    for i in range(size):
        found[i] *= inverse_pivots[i]
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            found[i] -= lower[j][i].conj() * found[j]
    return found
