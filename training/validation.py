"""How well the network separates speakers that it does not learn from, by the path that users take.

The best of many measurements on the same mixtures is better than the network is. So one set of mixtures chooses the
weights, and another one, which had no say in that, tells how good they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import pad_frames
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.model.separator import Separator
from unmingle.training.corpus import Corpus
from unmingle.training.errors import TrainingError
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import load_sources, read_list
from unmingle.training.mixtures import MixtureConfig, MixtureSampler

SECONDS = 4.0
SEED = 20160325
"""The same in every run, so that runs can be compared."""
MOST_SOURCES = 3
AUDIBLE_RMS = 5e-4
"""Sources have an RMS of 0.05 in their whole recording; a piece this far (40 dB) below is a pause, and not measured."""
WORST_DB = -30.0
"""A source that is lost altogether counts as this much, so that one cannot decide about the mean of all."""
_TRIES = 20

Sources = NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Measured:
    """SI-SDR improvement on a set of mixtures.

    Attributes:
        mean_db: over mixtures; of a mixture, over its sources.
        standard_error_db: of the mean over mixtures; nan for a single one.
        by_number_db: mean for each number of sources.
        mixtures: how many.
    """

    mean_db: float
    standard_error_db: float
    by_number_db: dict[int, float]
    mixtures: int

    def record(self) -> dict[str, float]:
        """As the history has it."""
        numbers = {f"si_sdr_improvement_{n}_db": value for n, value in self.by_number_db.items()}
        return {"si_sdr_improvement_db": self.mean_db, "standard_error_db": self.standard_error_db, **numbers}

    def __str__(self) -> str:
        """In words."""
        error = f" +- {self.standard_error_db:.2f}" if np.isfinite(self.standard_error_db) else ""
        numbers = ", ".join(f"{n} sources {value:.2f}" for n, value in sorted(self.by_number_db.items()))
        return f"SI-SDRi {self.mean_db:.2f}{error} dB on {self.mixtures} mixtures ({numbers})"


class TorchEmbedder:
    """A network in training behind the interface `Embedder`, so that the Separator can use it."""

    segments_at_once = 1

    def __init__(self, network: EmbeddingNet) -> None:
        self.network = network
        self.config: ModelConfig = network.config

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim), in float32 and without dropout."""
        if 0 in features.shape:
            return np.zeros((*features.shape, self.config.embedding_dim), np.float32)
        padded = torch.from_numpy(np.ascontiguousarray(pad_frames(features, self.config)))
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            embeddings = self.network(padded.to(self.network.mean.device))
        self.network.train(was_training)
        found: NDArray[np.float32] = embeddings[:, : features.shape[1]].cpu().numpy()
        return found


class Validation:
    """A fixed set of mixtures with their true sources."""

    def __init__(self, mixtures: Sequence[tuple[Sources, int]]) -> None:
        """Args:
        mixtures: (sources, samples) and the sample rate in Hz of each.
        """
        self.mixtures = tuple(mixtures)

    def measure(self, network: EmbeddingNet) -> Measured:
        """SI-SDR improvement of the network's stems; always finite."""
        separator = Separator(TorchEmbedder(network))
        scores: dict[int, list[float]] = {}
        for sources, rate in self.mixtures:
            mixture = sources.sum(0)
            stems = separator.separate(mixture, rate, len(sources)).stems
            found = si_sdr_improvement_db(stems, sources, mixture)
            # A stem without any sound has no SI-SDR, and a source that is not in its stem has -inf.
            bounded = np.maximum(np.nan_to_num(found, nan=WORST_DB, posinf=-WORST_DB, neginf=WORST_DB), WORST_DB)
            scores.setdefault(len(sources), []).append(float(bounded.mean()))
        every = [score for those in scores.values() for score in those]
        error = float(np.std(every, ddof=1) / np.sqrt(len(every))) if len(every) > 1 else float("nan")
        means = {number: float(np.mean(those)) for number, those in scores.items()}
        return Measured(float(np.mean(every)), error, means, len(every))


def draw_validation(corpus: Corpus, mixtures: int, most_sources: int = 2, seed: int = SEED) -> Validation:
    """Mixtures of held-out speakers, 0 to 5 dB apart, of two and, if asked for, three in turn; everybody is heard.

    Raises:
        TrainingError: the recordings are silent for the most part.
    """
    samples = round(SECONDS * corpus.sample_rate)
    generator = torch.Generator().manual_seed(seed)
    numbers = range(2, max(2, min(most_sources, MOST_SOURCES, int(corpus.is_speech.sum()))) + 1)
    drawn: list[tuple[Sources, int]] = []
    for position, number in enumerate(numbers):
        wanted = len(range(position, mixtures, len(numbers)))
        chances = tuple(float(n == number) for n in range(1, number + 1))
        sampler = MixtureSampler(corpus, MixtureConfig(num_sources=chances, sound_chance=0.0), generator)
        found: list[tuple[Sources, int]] = []
        for _ in range(_TRIES):
            if len(found) >= wanted:
                break
            for sources in sampler.sources(sampler.draw(wanted, samples), samples).numpy():
                if np.sqrt(np.square(sources).mean(-1)).min() > AUDIBLE_RMS:
                    found.append((sources, corpus.sample_rate))
        if len(found) < wanted:
            raise TrainingError(
                f"In the recordings of the speakers held out for validation there is hardly any sound: only "
                f"{len(found)} of {wanted} mixtures had all of {number} speakers in them. Give other recordings, or "
                "mixtures of your own with --validation-list."
            )
        drawn += found[:wanted]
    return Validation(drawn)


def read_validation(path: Path) -> tuple[Validation, Validation]:
    """A list in the format of training/evaluation: every second mixture chooses weights, the others tell how good.

    Raises:
        TrainingError: the list or one of its recordings is not usable, or has fewer than two mixtures.
    """
    try:
        loaded = [(row.id, *load_sources(row)) for row in read_list(path)]
    except EvaluationError as error:
        raise TrainingError(f"--validation-list: {error}") from error
    for name, sources, _ in loaded:
        if len(sources) < 2 or float(np.square(sources).mean(-1).min()) <= 0.0:
            raise TrainingError(
                f"--validation-list: mixture {name} of {path} has fewer than two sources, or a silent one; nothing can "
                "be separated there. Take it out of the list."
            )
    mixtures: list[tuple[Sources, int]] = [(sources, rate) for _, sources, rate in loaded]
    if len(mixtures) < 2:
        raise TrainingError(f"--validation-list: {path} has one mixture; expected two or more.")
    return Validation(mixtures[::2]), Validation(mixtures[1::2])
