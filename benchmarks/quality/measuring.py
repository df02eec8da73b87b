"""A case -> how well each source is heard, before and after. Axes: (source, sample)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.conditions import Case
from benchmarks.quality.pitch import median_pitch_hz
from unmingle.model.clustering import counting
from unmingle.model.separator import Separator
from unmingle.training.evaluation.hearing import Scene, hear
from unmingle.training.evaluation.ideal_mask import separate_ideally
from unmingle.training.evaluation.measures import assign, heard, si_sdr

Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What came of a case; all per source.

    Attributes:
        before_db, after_db: SI-SDR of the source in the mixture and in its stem.
        ideal_db: in the stem of the ideal binary mask.
        pitch_hz: median pitch of its voice; nan for what has none.
        counted: how many sources the model found; None if it does not count.
    """

    case: Case
    before_db: NDArray[np.float64]
    after_db: NDArray[np.float64]
    ideal_db: NDArray[np.float64]
    pitch_hz: NDArray[np.float64]
    counted: int | None

    @property
    def improvement_db(self) -> float:
        """SI-SDRi, mean over the sources."""
        return float((self.after_db - self.before_db).mean())

    @property
    def ideal_improvement_db(self) -> float:
        """That of the ideal binary mask."""
        return float((self.ideal_db - self.before_db).mean())


def stems_of(separator: Separator, case: Case, scene: Scene) -> Samples:
    """(source, sample): the stem of each source, where one more is asked for the best of them."""
    asked = len(scene.sources) + case.stems_more
    stems = separator.separate(scene.mixture, scene.sample_rate, asked).stems
    return heard(stems, assign(stems, scene.sources, scene.mixture), scene.mixture)


def measure(separator: Separator, case: Case) -> Measured:
    """Let a case be heard, separate it and measure.

    Raises:
        EvaluationError: a recording is not usable.
    """
    scene = hear(case.heard)
    stems = stems_of(separator, case, scene)
    config = separator.embedder.config
    # A background has a mask of its own, which is nobody's.
    parts = np.concatenate((scene.sources, scene.background[None])) if scene.background.any() else scene.sources
    ideal = separate_ideally(parts, scene.sample_rate, config)[: len(scene.sources)]
    counted = None
    if counting.counts_up_to(config.count_weights) and case.group in ("conditions", "numbers"):
        counted = len(separator.separate(scene.mixture, scene.sample_rate, "auto").stems)
    return Measured(
        case,
        si_sdr(np.broadcast_to(scene.mixture, scene.sources.shape), scene.sources),
        si_sdr(stems, scene.sources),
        si_sdr(ideal, scene.sources),
        np.array([median_pitch_hz(source, scene.sample_rate) for source in scene.sources])
        if case.group == "pairs"
        else np.full(len(scene.sources), np.nan),
        counted,
    )
