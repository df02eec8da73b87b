"""How long separating takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from unmingle.model.threads import usable_cores
from unmingle.training.evaluation.mixture_list import ListedMixture, load_mixture
from unmingle.training.evaluation.scoring import HowMany, wanted
from unmingle.training.evaluation.workers import load

RECORDINGS = 10


@dataclasses.dataclass(frozen=True)
class Speed:
    """Processing seconds per second of audio, from samples to samples.

    Attributes:
        real_time_factor: of all recordings together; below 1 is faster than listening.
        recordings: how many were separated, one after another.
        threads: on how many CPU threads.
    """

    real_time_factor: float
    recordings: int
    threads: int


def measure_speed(
    listed: Sequence[ListedMixture], model: Path, how_many: HowMany, refiner: Path | None = None
) -> Speed:
    """Separate the first few mixtures of a list again, one at a time on all cores, as a user would, with soft masks."""
    threads = usable_cores()
    separator = load(model, refiner, threads)
    chosen = listed[:RECORDINGS]
    loaded = [load_mixture(mixture) for mixture in chosen]
    mixture, sources, sample_rate = loaded[0]
    # The first one also pays for memory and caches.
    separator.separate(mixture, sample_rate, wanted(how_many, len(sources)))
    audio_s = sum(len(mixture) / sample_rate for mixture, _, sample_rate in loaded)
    began = time.perf_counter()
    for mixture, sources, sample_rate in loaded:
        separator.separate(mixture, sample_rate, wanted(how_many, len(sources)))
    return Speed((time.perf_counter() - began) / audio_s, len(chosen), threads)
