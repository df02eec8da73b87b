"""A case -> how well each source is heard, with the number of sources given and counted. Axes: (source,)."""

from __future__ import annotations

import dataclasses

import numpy as np

from unmingle.model.clustering import counting
from unmingle.model.options import NumSources
from unmingle.model.separator import Separator
from unmingle.training.evaluation.asking import options
from unmingle.training.evaluation.conditions import Case
from unmingle.training.evaluation.measures import PerSource, assign, heard, si_sdr


@dataclasses.dataclass(frozen=True)
class ScoredCase:
    """What came of a case; all (sources,) in dB, nan for a silent source.

    Attributes:
        before_db: SI-SDR of each source in the mixture.
        given_db: in its stem, where the separator was told how many sources there are.
        counted_db: in its stem, where it had to count, or in the mixture where there was none; nan if it cannot count.
        found: how many sources it counted; None if it cannot.
        quietest: which source has the least energy.
    """

    case: Case
    before_db: PerSource
    given_db: PerSource
    counted_db: PerSource
    found: int | None
    quietest: int


def score_case(separator: Separator, case: Case) -> ScoredCase:
    """Let a case be heard, separate it and measure.

    Raises:
        EvaluationError: a recording is not usable.
    """
    from unmingle.training.evaluation.hearing import hear  # torch: for those only who hear

    scene = hear(case)
    sources, mixture = scene.sources, scene.mixture

    def separated_db(num_sources: NumSources) -> tuple[PerSource, int]:
        stems = separator.separate(mixture, scene.sample_rate, options=options(separator, num_sources)).stems
        return si_sdr(heard(stems, assign(stems, sources, mixture), mixture), sources), len(stems)

    given_db, _ = separated_db(len(sources))
    counted_db, found = np.full(len(sources), np.nan), None
    if counting.counts_up_to(separator.embedder.config.count_weights):
        counted_db, found = separated_db("auto")
    before_db = si_sdr(np.broadcast_to(mixture, sources.shape), sources)
    return ScoredCase(case, before_db, given_db, counted_db, found, int(np.square(sources).sum(1).argmin()))
