"""Figures of many mixtures -> what is typical, and how bad it gets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.training.evaluation.scoring import HARD, MIXTURE, SOFT, WAYS, ScoredMixture

METRICS = ("si_sdr_db", "sdr_db", "stoi")
"""Fields of unmingle.training.evaluation.measures.Figures."""
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Spread:
    """One figure over many mixtures; nan where no mixture has it.

    Attributes:
        mean, median: over the mixtures.
        worst_tenth: mean of the lowest tenth of them, of at least one.
    """

    mean: float
    median: float
    worst_tenth: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """(mixtures,) -> its spread; nan does not count."""
        known = np.sort(values[~np.isnan(values)])
        if not len(known):
            return cls(math.nan, math.nan, math.nan)
        worst = known[: math.ceil(len(known) / 10)]
        return cls(float(known.mean()), float(np.median(known)), float(worst.mean()))


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        pairing: genders of the sources, or ALL.
        mixtures: how many it is about.
        way: a key of WAYS.
        level: by metric, the figure itself.
        improvement: by metric, how much higher it is than the mixture's; empty for the mixture and for one source
            alone, where there is nothing to improve.
    """

    pairing: str
    mixtures: int
    way: str
    level: Mapping[str, Spread]
    improvement: Mapping[str, Spread]


def levels(scored: Iterable[ScoredMixture], way: str, metric: str) -> NDArray[np.float64]:
    """(mixtures,): each mixture's mean over its sources."""
    return np.array([mean_known(getattr(mixture.figures[way], metric)) for mixture in scored])


def improvements(scored: Iterable[ScoredMixture], way: str, metric: str) -> NDArray[np.float64]:
    """(mixtures,): how much higher than the mixture's, each mixture's mean over its sources."""
    return np.array(
        [
            mean_known(getattr(mixture.figures[way], metric) - getattr(mixture.figures[MIXTURE], metric))
            for mixture in scored
        ]
    )


def mean_known(values: NDArray[np.float64]) -> float:
    """Over what is not nan; nan where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def pairings(scored: Sequence[ScoredMixture]) -> dict[str, list[ScoredMixture]]:
    """All mixtures together, then by the genders of their sources."""
    groups = {ALL: list(scored)}
    for pairing in sorted({mixture.pairing for mixture in scored}, key=lambda name: (len(name), name)):
        groups[pairing] = [mixture for mixture in scored if mixture.pairing == pairing]
    return groups


def summarise(scored: Sequence[ScoredMixture]) -> list[Row]:
    """The table for mixtures of two and more sources: by pairing, every way beside the others."""
    return [
        Row(
            pairing,
            len(group),
            way,
            {metric: Spread.of(levels(group, way, metric)) for metric in METRICS},
            {} if way == MIXTURE else {metric: Spread.of(improvements(group, way, metric)) for metric in METRICS},
        )
        for pairing, group in pairings(scored).items()
        for way in WAYS
    ]


@dataclasses.dataclass(frozen=True)
class FurtherRow:
    """One further measure over all mixtures: in the mixture, in the stem, and how much higher it is there."""

    measure: str
    before: Spread
    after: Spread
    improvement: Spread


def summarise_further(scored: Sequence[ScoredMixture]) -> list[FurtherRow]:
    """A row per further measure; none where none was asked for."""
    names = list(scored[0].further.get(SOFT, ())) if scored else []
    rows = []
    for name in names:
        before, after = ([mixture.further[way][name] for mixture in scored] for way in (MIXTURE, SOFT))
        gains = [b - a for a, b in zip(before, after, strict=True)]
        spreads = (Spread.of(np.array([mean_known(v) for v in values])) for values in (before, after, gains))
        rows.append(FurtherRow(name, *spreads))
    return rows


def summarise_alone(scored: Sequence[ScoredMixture]) -> list[Row]:
    """The table for recordings of one source: how much of it is still there, by the stem that has most of it."""
    return [
        Row(pairing, len(group), way, {metric: Spread.of(levels(group, way, metric)) for metric in METRICS}, {})
        for pairing, group in pairings(scored).items()
        for way in (SOFT, HARD)
    ]
