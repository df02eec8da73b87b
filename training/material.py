"""What a run learns from and is measured on, and what the user is told about it before anything else happens."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

from unmingle.training.corpora.prepared import is_prepared, read_manifests
from unmingle.training.corpus import Corpus, read_corpus, survey
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig
from unmingle.training.train_config import DEFAULT_MIXTURES, TrainConfig
from unmingle.training.validation import SEED, Validation, draw_validation, read_validation

_NAMED = 10
"""So many faulty recordings are listed one by one."""


@dataclasses.dataclass(frozen=True)
class Material:
    """Everything that is read from the user's folders.

    Attributes:
        corpus: to learn from.
        config: the run's, with fewer sources in a mixture where the corpus has too few speakers for the default.
        choosing: mixtures that choose the best weights.
        judging: others, that tell how good these are.
        fingerprint: of the recordings to learn from and of those held out.
    """

    corpus: Corpus
    config: TrainConfig
    choosing: Validation
    judging: Validation
    fingerprint: str


def read_material(config: TrainConfig, cache: Path) -> Material:
    """Survey and decode a run's corpus, and say what it was taken for.

    Raises:
        TrainingError: there is no usable corpus or list.
    """
    data = Path(config.data)
    _say_what_it_is(data)
    listed = read_validation(Path(config.validation_list)) if config.validation_list else None
    rate = config.network.sample_rate
    corpus = read_corpus(data, "train", rate, cache)
    held_out = read_corpus(data, "valid", rate, cache, speech_only=True)
    _say_problems(corpus.problems + held_out.problems)
    print(
        f"{corpus.hours:.2f} hours of {len(corpus.speakers)} speakers to train on, {len(held_out.speakers)} speakers "
        "held out for validation"
    )
    config = _within(config, int(corpus.is_speech.sum()))
    if listed is None and int(held_out.is_speech.sum()) < 2:
        raise TrainingError(
            f"The corpus {config.data} has usable recordings of fewer than two speakers for validation: give more "
            "speakers, or mixtures of your own with --validation-list."
        )
    most = len(config.mixtures.num_sources)
    choosing, judging = listed or tuple(
        draw_validation(held_out, config.validation_mixtures, most, seed) for seed in (SEED, SEED + 1)
    )
    fingerprint = hashlib.sha256(f"{corpus.fingerprint} {held_out.fingerprint}".encode()).hexdigest()
    return Material(corpus, config, choosing, judging, fingerprint)


def _say_what_it_is(data: Path) -> None:
    if is_prepared(data):
        print(f"{data} has prepared shards")
        for manifest in read_manifests(data):
            print(f"  {manifest.folder.name}: {manifest.layout}")
        return
    found = survey(data)
    print(f"{data} is {found.layout}")
    for note in found.left_out:
        print(f"  left out: {note}")


def _say_problems(problems: tuple[str, ...]) -> None:
    for problem in problems[:_NAMED]:
        print(f"warning: {problem}", file=sys.stderr)
    if len(problems) > _NAMED:
        print(f"warning: {len(problems) - _NAMED} more recordings have such faults", file=sys.stderr)


def _within(config: TrainConfig, speakers: int) -> TrainConfig:
    """Mixtures of no more sources than there are speakers, if their number was not asked for."""
    chances = config.mixtures.num_sources
    if chances != DEFAULT_MIXTURES.num_sources or len(chances) <= speakers or speakers < 2:
        return config
    print(f"  mixtures have at most {speakers} sources, because there are {speakers} speakers to train on")
    mixtures: MixtureConfig = dataclasses.replace(config.mixtures, num_sources=chances[:speakers])
    return dataclasses.replace(config, mixtures=mixtures)
