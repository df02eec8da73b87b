"""Many small Hermitian systems at once. Axes: (channel, ...), where ... are the systems."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex64]
Lower = list[list[NDArray[np.complex64]]]
"""Rows of the lower triangle: row i has i + 1 arrays of shape (...)."""


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
