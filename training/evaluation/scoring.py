"""A mixture of a list -> figures of each way to separate it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from model.separator import Separator
from training.evaluation.ideal_mask import separate_ideally
from training.evaluation.measures import Figures, in_order, measure
from training.evaluation.mixture_list import ListedMixture, load_sources

MIXTURE, SOFT, HARD, IDEAL = "mixture", "soft", "hard", "ideal"
WAYS = {
    MIXTURE: "the mixture itself",
    SOFT: "soft masks",
    HARD: "hard masks",
    IDEAL: "ideal binary mask",
}
"""What stands for each source: the mixture as it is, the model's stems by two kinds of masks, the best binary masks."""

SEED = 0


@dataclasses.dataclass(frozen=True)
class ScoredMixture:
    """One row of a list with its figures, by way."""

    listed: ListedMixture
    figures: Mapping[str, Figures]

    @property
    def num_sources(self) -> int:
        """How many true sources it has."""
        return len(self.listed.parts)

    @property
    def pairing(self) -> str:
        """Genders of its sources."""
        return self.listed.pairing


def score(separator: Separator, listed: ListedMixture) -> ScoredMixture:
    """Separate one mixture in every way and measure what comes of it.

    Raises:
        EvaluationError: a recording is not usable.
    """
    sources, sample_rate = load_sources(listed)
    mixture = sources.sum(0)
    num_sources = len(sources)
    stems = {
        MIXTURE: np.broadcast_to(mixture, sources.shape),
        SOFT: separator.separate(mixture, sample_rate, num_sources, seed=SEED, mask_kind="soft").stems,
        HARD: separator.separate(mixture, sample_rate, num_sources, seed=SEED, mask_kind="hard").stems,
        IDEAL: separate_ideally(sources, sample_rate, separator.embedder.config),
    }
    is_speech = [part.is_speech for part in listed.parts]
    return ScoredMixture(
        listed,
        {way: measure(in_order(found, sources), sources, sample_rate, is_speech) for way, found in stems.items()},
    )
