"""A case -> how well each source is heard, before and after; spread over processes. Axes: (source, sample)."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.quality.conditions import Case
from benchmarks.quality.pitch import median_pitch_hz
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.metrics import si_sdr_db
from unmingle.model.separator import Separator
from unmingle.training.acoustics import at_snr, in_a_room
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.ideal_mask import separate_ideally
from unmingle.training.evaluation.measures import HIGHEST_DB, LOWEST_DB, assign, heard
from unmingle.training.evaluation.mixture_list import load_sources

Samples = NDArray[np.float32]

_separator: Separator | None = None
"""Each worker process's own, set once."""


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


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is heard in a case.

    Attributes:
        sources: (source, sample), as the microphone hears each of them: with its room.
        noise: (sample,).
        sample_rate: Hz.
    """

    sources: Samples
    noise: Samples
    sample_rate: int

    @property
    def mixture(self) -> Samples:
        """(sample,)."""
        return np.asarray(self.sources.sum(0) + self.noise)


def make_scene(case: Case) -> Scene:
    """Sources and noise of a case; the same each time. Sounds are at the rate of the sources already.

    Raises:
        EvaluationError: a recording is not usable.
    """
    sources, rate = load_sources(case.listed)
    rng, condition = np.random.default_rng(case.seed), case.condition
    if condition.level_db is not None:
        sources = np.float32(0.05) * sources / np.sqrt(np.square(sources).mean(1, keepdims=True))
        sources[1:] *= np.float32(10.0 ** (-condition.level_db / 20.0))
    if condition.rt60_s:
        sources = np.stack([in_a_room(source, rate, condition.rt60_s, rng) for source in sources])
    noise = np.zeros(sources.shape[-1], np.float32)
    if condition.noise:
        white = rng.standard_normal((sources.shape[-1],), np.float32)
        sound = _recorded(case.noise_file) if case.noise_file else white
        noise = at_snr(sound, np.asarray(sources.sum(0)), condition.snr_db)
    return Scene(sources, noise, rate)


def _recorded(file: Path) -> Samples:
    try:
        return np.asarray(soundfile.read(file, dtype="float32", always_2d=True)[0].mean(1), np.float32)
    except (OSError, soundfile.LibsndfileError) as error:
        raise EvaluationError(f"The recording {file} cannot be read ({error}); expected an audio file.") from error


def stems_of(separator: Separator, case: Case, scene: Scene) -> Samples:
    """(source, sample): the stem of each source, where one more is asked for the best of them."""
    asked = len(scene.sources) + case.condition.stems_more
    stems = separator.separate(scene.mixture, scene.sample_rate, asked).stems
    return heard(stems, assign(stems, scene.sources), scene.mixture)


def measure_all(cases: Sequence[Case], model: Path, jobs: int) -> Iterator[Measured]:
    """Measure cases in `jobs` processes of one thread each; they come in their order."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(model,)) as pool:
        yield from pool.map(_measure, cases, chunksize=4)


def _begin(model: Path) -> None:
    global _separator  # noqa: PLW0603  # a process pool offers no other place for what its processes keep
    _separator = Separator(OnnxEmbedder(model, device="cpu", threads=1))


def _measure(case: Case) -> Measured:
    if _separator is None:
        raise RuntimeError("_measure() outside a process that _begin() prepared")
    scene = make_scene(case)
    stems = stems_of(_separator, case, scene)
    config = _separator.embedder.config
    # Noise has a mask of its own, which is nobody's.
    parts = np.concatenate((scene.sources, scene.noise[None])) if scene.noise.any() else scene.sources
    ideal = separate_ideally(parts, scene.sample_rate, config)[: len(scene.sources)]
    counted = None
    if config.count_weights and case.group in ("conditions", "numbers"):
        counted = len(_separator.separate(scene.mixture, scene.sample_rate, "auto").stems)
    return Measured(
        case,
        _bounded(si_sdr_db(scene.mixture, scene.sources)),
        _bounded(si_sdr_db(stems, scene.sources)),
        _bounded(si_sdr_db(ideal, scene.sources)),
        np.array([median_pitch_hz(source, scene.sample_rate) for source in scene.sources])
        if case.group == "pairs"
        else np.full(len(scene.sources), np.nan),
        counted,
    )


def _bounded(ratio_db: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(ratio_db, LOWEST_DB, HIGHEST_DB)
