"""What a model says of its own results, beside the truth: its count of the sources, the confidence of its stems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import spearmanr

from unmingle.training.evaluation.scoring import SOFT, ScoredMixture


@dataclasses.dataclass(frozen=True)
class Counting:
    """How well the sources were counted.

    Attributes:
        confusion: by true number of sources: how many mixtures were found to have 1, 2, 3... sources. All rows are
            equally long, and go as far as the truth and what was found.
        exact_share: part of the mixtures whose count is right.
        mean_chance_when_right, mean_chance_when_wrong: the chance that the model gave its count, 0 to 1; nan without
            such mixtures.
    """

    confusion: Mapping[int, tuple[int, ...]]
    exact_share: float
    mean_chance_when_right: float
    mean_chance_when_wrong: float


def count(scored: Sequence[ScoredMixture]) -> Counting:
    """Counts of a list's mixtures beside the true ones; the separator must have counted."""
    true = np.array([mixture.num_sources for mixture in scored])
    found = np.array([mixture.found for mixture in scored])
    chance = np.array([mixture.count_chance for mixture in scored], np.float64)
    right = true == found
    most = int(max(true.max(), found.max()))
    return Counting(
        {int(n): tuple(np.bincount(found[true == n], minlength=most + 1)[1:].tolist()) for n in np.unique(true)},
        float(right.mean()),
        float(chance[right].mean()) if right.any() else math.nan,
        float(chance[~right].mean()) if not right.all() else math.nan,
    )


@dataclasses.dataclass(frozen=True)
class Trust:
    """What the confidence of a stem says about how well its source is heard.

    Attributes:
        rank_correlation: Spearman's, -1 to 1, between confidence and SI-SDR (soft masks): 1 if the more confident of
            two stems is always the better one. nan for less than three stems, or if either is the same for all.
        stems: how many it is about.
    """

    rank_correlation: float
    stems: int


def trust(scored: Sequence[ScoredMixture]) -> Trust:
    """Over all stems that belong to a source; a source that is silent in its piece does not count."""
    confidence = np.concatenate([np.zeros(0), *(mixture.confidence for mixture in scored)])
    si_sdr_db = np.concatenate([np.zeros(0), *(mixture.figures[SOFT].si_sdr_db for mixture in scored)])
    known = ~np.isnan(confidence + si_sdr_db)
    confidence, si_sdr_db = confidence[known], si_sdr_db[known]
    if len(confidence) < 3 or not np.ptp(confidence) or not np.ptp(si_sdr_db):
        return Trust(math.nan, len(confidence))
    return Trust(float(spearmanr(confidence, si_sdr_db).statistic), len(confidence))
