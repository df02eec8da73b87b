"""How good a separation is. Axes: (source, sample)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Samples = NDArray[np.floating]


def si_sdr_db(estimate: Samples, reference: Samples) -> NDArray[np.float64]:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., "SDR - half-baked or well done?", 2019).

    Args:
        estimate, reference: (..., samples), broadcast against each other; means are removed.

    Returns:
        (...) dB; -inf for an estimate that has nothing of the reference, nan where the reference is silent.
    """
    estimate = np.asarray(estimate, np.float64)
    reference = np.asarray(reference, np.float64)
    estimate = estimate - estimate.mean(-1, keepdims=True)
    reference = reference - reference.mean(-1, keepdims=True)
    energy = np.square(reference).sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        target = (estimate * reference).sum(-1, keepdims=True) / energy * reference
        ratio = np.square(target).sum(-1) / np.square(estimate - target).sum(-1)
        return np.asarray(10.0 * np.log10(ratio))


def best_permutation(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Which stem belongs to which source: the assignment with the largest total score.

    Args:
        scores: (sources, stems), higher is better; there may be more stems than sources.

    Returns:
        (sources,) index of the stem of each source.
    """
    finite = np.nan_to_num(scores, nan=-1e3, posinf=1e3, neginf=-1e3)
    return np.asarray(linear_sum_assignment(finite, maximize=True)[1], np.int64)


def si_sdr_improvement_db(stems: Samples, sources: Samples, mixture: Samples) -> NDArray[np.float64]:
    """SI-SDRi in dB of each source under the best permutation.

    Args:
        stems: (stems, samples), at least as many as sources.
        sources: (sources, samples), the true ones.
        mixture: (samples,).

    Returns:
        (sources,).
    """
    scores = si_sdr_db(stems[None, :, :], sources[:, None, :])
    chosen = best_permutation(scores)
    return np.asarray(scores[np.arange(len(sources)), chosen] - si_sdr_db(mixture, sources))
