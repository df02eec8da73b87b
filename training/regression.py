"""Logistic regression, as calibration fits it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]


def logistic_regression(
    inputs: NDArray[np.floating[Any]], wanted: NDArray[Any], weight: Floats, penalty: float, iterations: int = 15_000
) -> Floats:
    """(columns + 1,) weights of the inputs, and at the end the constant.

    Args:
        inputs: (items, columns); products are computed in their type.
        wanted: (items,) 0 or 1.
        weight: (items,) of each item.
        penalty: times the squared weights of standardised inputs.
        iterations: at most.
    """
    mean, deviation = inputs.mean(0), np.maximum(inputs.std(0), 1e-6)
    scaled = (inputs - mean) / deviation
    weight = weight / weight.sum()

    def loss(row: Floats) -> tuple[float, Floats]:
        score = scaled @ row[:-1].astype(scaled.dtype) + row[-1]
        value = float(weight @ (np.logaddexp(0.0, score) - wanted * score)) + penalty * float(np.square(row[:-1]).sum())
        missed = weight * (1.0 / (1.0 + np.exp(-score)) - wanted)
        return value, np.append(missed.astype(scaled.dtype) @ scaled + 2.0 * penalty * row[:-1], missed.sum())

    start = np.zeros(inputs.shape[1] + 1)
    row = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations}).x
    weights = row[:-1] / deviation
    return np.asarray(np.append(weights, row[-1] - weights @ mean), np.float64)
