"""A mixture of a list -> figures of each way to separate it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from unmingle.model.options import NumSources
from unmingle.model.separator import Separator
from unmingle.training.evaluation.asking import options
from unmingle.training.evaluation.further_measures import measure_further
from unmingle.training.evaluation.ideal_mask import separate_ideally
from unmingle.training.evaluation.measures import NO_STEM, Figures, PerSource, assign, heard, measure
from unmingle.training.evaluation.mixture_list import ListedMixture, load_mixture

MIXTURE, SOFT, HARD, IDEAL = "mixture", "soft", "hard", "ideal"
WAYS = {
    MIXTURE: "the mixture itself",
    SOFT: "soft masks",
    HARD: "hard masks",
    IDEAL: "ideal binary mask",
}
"""What stands for each source: the mixture as it is, the model's stems by two kinds of masks, the best binary masks."""

HowMany = Literal["true", "auto"]
"""Whether the separator is told the number of sources or has to find it out."""


@dataclasses.dataclass(frozen=True)
class ScoredMixture:
    """One row of a list with its figures.

    Attributes:
        listed: the row.
        figures: by way.
        found: how many stems the separator made; the true number where it was told.
        count_chance: how sure it was of that, 0 to 1; None where it was told.
        confidence: (sources,) confidence of the stem that each source is heard in, with soft masks; nan for a source
            without a stem.
        further: by way (the mixture, soft masks) and measure, (sources,); empty where no further ones were asked for.
    """

    listed: ListedMixture
    figures: Mapping[str, Figures]
    found: int
    count_chance: float | None
    confidence: PerSource
    further: Mapping[str, Mapping[str, PerSource]] = dataclasses.field(default_factory=dict)

    @property
    def num_sources(self) -> int:
        """How many true sources it has."""
        return len(self.listed.parts)

    @property
    def pairing(self) -> str:
        """Genders of its sources."""
        return self.listed.pairing


def wanted(how_many: HowMany, true_number: int) -> NumSources:
    """What to ask the separator for."""
    return true_number if how_many == "true" else "auto"


def score(
    separator: Separator, listed: ListedMixture, how_many: HowMany, measures: Sequence[str] = ()
) -> ScoredMixture:
    """Separate one mixture in every way and measure what comes of it.

    Args:
        measures: further ones, of the mixture and of soft masks; keys of further_measures.MEASURES.

    Raises:
        EvaluationError: a recording is not usable.
        ParameterError: the model has to count and was not taught to.
    """
    mixture, sources, sample_rate = load_mixture(listed)
    num_sources = wanted(how_many, len(sources))
    soft = separator.separate(mixture, sample_rate, options=options(separator, num_sources))
    stems = {
        MIXTURE: np.broadcast_to(mixture, sources.shape),
        SOFT: soft.stems,
        HARD: separator.separate(mixture, sample_rate, options=options(separator, num_sources, "hard")).stems,
        IDEAL: separate_ideally(sources, sample_rate, separator.embedder.config, mixture),
    }
    assigned = {way: assign(found, sources, mixture) for way, found in stems.items()}
    is_speech = [part.is_speech for part in listed.parts]
    return ScoredMixture(
        listed,
        {
            way: measure(heard(found, assigned[way], mixture), sources, sample_rate, is_speech)
            for way, found in stems.items()
        },
        len(soft.stems),
        soft.count_chance,
        np.array([math.nan if k == NO_STEM else soft.reports[k].confidence for k in assigned[SOFT]]),
        {
            way: measure_further(measures, heard(stems[way], assigned[way], mixture), sources, sample_rate, is_speech)
            for way in (MIXTURE, SOFT)
            if measures
        },
    )
