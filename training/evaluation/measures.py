"""Stems beside true sources -> figures per source. Axes: (source, sample)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import mir_eval.separation
import numpy as np
import pystoi
from numpy.typing import NDArray

from unmingle.model.metrics import best_permutation, si_sdr_db

Samples = NDArray[np.floating]
PerSource = NDArray[np.float64]

LOWEST_DB, HIGHEST_DB = -50.0, 100.0
"""Ratios are held within these: a silent stem would have -inf, a perfect one +inf, and no list a mean."""

NO_STEM = -1
"""In place of the index of a stem."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """How well each source of a mixture is heard; all (sources,), nan where a figure has no meaning.

    Attributes:
        si_sdr_db: scale-invariant signal-to-distortion ratio; nan for a silent source.
        sdr_db: SDR of BSS Eval; nan for a silent source.
        stoi: short-time objective intelligibility, 0 to 1; nan for sounds that are not speech.
    """

    si_sdr_db: PerSource
    sdr_db: PerSource
    stoi: PerSource


def assign(stems: Samples, sources: Samples, mixture: Samples | None = None) -> NDArray[np.int64]:
    """Which stem each source is heard in: the permutation with the best SI-SDR.

    Where there are fewer stems than sources, somebody has none. Everybody had the mixture before, so that is what the
    permutation counts for them. Where there are more, those that fit worst are nobody's.

    Args:
        stems: (stems, samples), any number.
        sources: (sources, samples).
        mixture: (samples,), where it is more than the sum of the sources.

    Returns:
        (sources,) indices of stems, NO_STEM where a source has none.
    """
    missing = max(0, len(sources) - len(stems))
    before = sources.sum(0) if mixture is None else mixture
    candidates = np.concatenate((stems, np.repeat(before[None], missing, axis=0)))
    chosen = best_permutation(si_sdr_db(candidates[None, :, :], sources[:, None, :]))
    return np.where(chosen < len(stems), chosen, NO_STEM)


def heard(stems: Samples, assigned: NDArray[np.int64], mixture: Samples) -> Samples:
    """(sources, samples): the stem of each source, as `assign` says; the mixture for one that has none."""
    return np.concatenate((stems, mixture[None]))[assigned]  # NO_STEM is the last one


def measure(stems: Samples, sources: Samples, sample_rate: int, is_speech: Sequence[bool]) -> Figures:
    """All figures of stems that are in the order of their sources.

    Args:
        stems, sources: (sources, samples).
        sample_rate: Hz.
        is_speech: per source; only speech has an intelligibility.
    """
    pairs = list(zip(stems, sources, strict=True))
    return Figures(
        si_sdr(stems, sources),
        np.array([_bounded(sdr_db(stem, source), stem, source) for stem, source in pairs]),
        np.array(
            [_stoi(*pair, sample_rate) if speech else np.nan for pair, speech in zip(pairs, is_speech, strict=True)]
        ),
    )


def si_sdr(stems: Samples, sources: Samples) -> PerSource:
    """SI-SDR in dB of stems that are in the order of their sources, held within bounds; nan for a silent source."""
    pairs = zip(stems, sources, strict=True)
    return np.array([_bounded(float(si_sdr_db(stem, source)), stem, source) for stem, source in pairs])


def _bounded(ratio_db: float, stem: Samples, source: Samples) -> float:
    if _is_silent(source):
        return float("nan")
    return LOWEST_DB if _is_silent(stem) else float(np.clip(ratio_db, LOWEST_DB, HIGHEST_DB))


def _is_silent(signal: Samples) -> bool:
    return not np.ptp(signal)


def sdr_db(stem: Samples, source: Samples) -> float:
    """SDR of BSS Eval, version 3 (Vincent, Gribonval, Fevotte, 2006): up to a filter of 512 taps on the source.

    The filter is fitted to the stem's own source alone, so other sources do not change the SDR (only SIR and SAR, which
    we do not report). One pair at a time therefore gives the same number in a fraction of the time.
    """
    if _is_silent(stem) or _is_silent(source):
        return float("nan")
    with warnings.catch_warnings():
        # mir_eval means to leave this to others from 0.9 on; pyproject.toml asks for an earlier one.
        warnings.filterwarnings("ignore", r"mir_eval\.separation", FutureWarning)
        return float(mir_eval.separation.bss_eval_sources(source[None], stem[None], compute_permutation=False)[0][0])


def _stoi(stem: Samples, source: Samples, sample_rate: int) -> float:
    """STOI (Taal et al., 2011); nan where there is less than 0.4 s of speech, too little for it."""
    if _is_silent(source) or len(source) < 0.4 * sample_rate:
        return float("nan")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(source, stem, sample_rate))
        except RuntimeWarning:
            return float("nan")
