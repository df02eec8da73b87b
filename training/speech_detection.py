"""What teaches a finished model to tell whether somebody speaks, and whether several people do at once.

Conversations of a corpus are simulated, and two logistic regressions are fitted on the means of the embeddings of each
third of a second (model/clustering/speech.py). Their many inputs want many voices: they are those of the training
speakers, and who is measured (benchmarks/talk.py) is somebody else.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from unmingle.model.clustering import speech
from unmingle.model.embedding.embedded import block_means, blocks_of
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.recording import ArrayRecording, Samples
from unmingle.model.signal import features, segments
from unmingle.training.augment.conditions import Conditions
from unmingle.training.augment.scene import make_scene
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.corpus import read_corpus
from unmingle.training.evaluation.conversations import Material, converse
from unmingle.training.mixtures import MixtureConfig, MixtureSampler
from unmingle.training.regression import logistic_regression

SPLIT, SEED = "train", 11
MIXTURES_PER_CONVERSATION = 8
MIXTURE_S = 8.0
MIXTURES = MixtureConfig((0.15, 0.5, 0.35), sound_chance=0.4, quiet_chance=0.2)
CONDITIONS = Conditions(
    talk_chance=0.35,
    room_chance=0.4,
    noise_chance=0.5,
    loud_noise_db=5.0,
    telephone_chance=0.1,
    band_chance=0.15,
    equaliser_chance=0.2,
)
MOST_ROOMS = 60
SILENT_DB = -25.0
"""Of a source, relative to its own loud moments."""
PENALTY = 0.045
"""Times the squared weights of standardised inputs."""
ITERATIONS = 100

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Observed:
    """Blocks of recordings.

    Attributes:
        means: (blocks, bands * dim) of the embeddings.
        speech: (blocks,) whether somebody speaks for most of it.
        several: (blocks,) whether two people, or a person and a sound that is a source, are heard for most of it.
    """

    means: NDArray[np.float32]
    speech: Flags
    several: Flags


def teach(embedder: OnnxEmbedder, data: Path, conversations: int) -> str:
    """Fit a model's `speech_weights`.

    Conversations are mostly of one person at a time; mixtures are of several sources, which may be sounds.

    Args:
        embedder: of the model.
        data: corpus of two training speakers or more.
        conversations: to simulate, of 75 seconds each on average.

    Raises:
        TrainingError: there is no such corpus.
        EvaluationError: it has fewer speakers.
    """
    config = embedder.config
    material = Material.load(data, SPLIT, config.sample_rate)
    with tqdm(total=conversations * (1 + MIXTURES_PER_CONVERSATION), desc="recordings") as bar:
        found = []
        for samples, sources, is_speech in itertools.chain(
            _conversations(material, conversations),
            _mixtures(data, config.sample_rate, conversations * MIXTURES_PER_CONVERSATION),
        ):
            found.append(observe(embedder, samples, sources, is_speech))
            bar.update()
    return speech.stored(fit(found))


Recorded = tuple[Samples, Flags, Flags]
"""(samples,); (sources, samples) whether each is heard; (sources,) whether it is somebody."""


def _conversations(material: Material, count: int) -> Iterator[Recorded]:
    for conversation in converse(material, count, SEED):
        heard = np.zeros(conversation.sources.shape, bool)
        for turn in conversation.turns:
            start, end = (round(s * conversation.sample_rate) for s in (turn.start_s, turn.end_s))
            heard[conversation.speakers.index(turn.speaker), start:end] = True
        yield conversation.mixture, heard, np.ones(len(heard), bool)


def _mixtures(data: Path, sample_rate: int, count: int) -> Iterator[Recorded]:
    corpus = read_corpus(data, SPLIT, sample_rate)
    generator = torch.Generator().manual_seed(SEED)
    most = min(len(MIXTURES.num_sources), int(corpus.is_speech.sum()))
    config = dataclasses.replace(MIXTURES, num_sources=MIXTURES.num_sources[:most])
    surroundings = find_surroundings(CONDITIONS, data, corpus, most, generator, min(MOST_ROOMS, count))
    sampler = MixtureSampler(corpus, config, generator)
    samples = round(MIXTURE_S * sample_rate)
    for _ in range(count):
        draw = sampler.draw(1, samples)
        scene = make_scene(sampler.sources(draw, samples), CONDITIONS, surroundings, 1, sample_rate, generator)
        is_speech = corpus.is_speech[corpus.speaker[draw.recording[0]]].numpy()
        yield scene.mixture[0].numpy(), _heard(scene.sources[0].numpy(), sample_rate), is_speech


def _heard(sources: Samples, sample_rate: int) -> Flags:
    """(sources, samples) whether each is heard, by its energy in blocks of 32 ms."""
    block = max(1, round(0.032 * sample_rate))
    whole = sources[:, : sources.shape[1] // block * block]
    energy = np.square(whole, dtype=np.float64).reshape(len(sources), -1, block).sum(2)
    loud = np.percentile(energy, 95, axis=1, keepdims=True)
    heard = (energy > loud * 10.0 ** (SILENT_DB / 10.0)).repeat(block, axis=1)
    return np.pad(heard, ((0, 0), (0, sources.shape[1] - whole.shape[1])))


def observe(embedder: OnnxEmbedder, samples: Samples, heard: Flags, is_speech: Flags) -> Observed:
    """The blocks of one recording.

    Args:
        samples: (samples,) at the model's rate.
        heard: (sources, samples) whether each is heard.
        is_speech: (sources,) whether it is somebody.
    """
    config = embedder.config
    magnitudes = segments.heard_magnitude(ArrayRecording(samples[None], config.sample_rate), config)
    means, shares = [], []
    for segment in segments.cut(magnitudes, segments.SegmentLayout()):
        embedded = embedder.embed(features.log_magnitude(segment.magnitude, config.floor_db)[None])[0]
        means.append(block_means(embedded, speech.BLOCK_FRAMES))
        blocks, frames = blocks_of(len(embedded), speech.BLOCK_FRAMES)
        at = (segment.start + np.arange(blocks * frames)) * config.hop
        shares.append(heard[:, at.clip(max=heard.shape[1] - 1)].reshape(len(heard), blocks, frames).mean(2) > 0.5)
    there = np.concatenate(shares, axis=1)
    spoken = np.asarray(there[is_speech].any(0))
    return Observed(np.concatenate(means), spoken, np.asarray(spoken & (there.sum(0) > 1)))


def fit(observed: Sequence[Observed]) -> Floats:
    """(inputs + 1, QUESTIONS) weights."""
    means = np.concatenate([o.means for o in observed])
    spoken, several = (np.concatenate([getattr(o, name) for o in observed]) for name in ("speech", "several"))
    columns = []
    for inputs, wanted in ((means, spoken), (means[spoken], several[spoken])):
        columns.append(logistic_regression(inputs, wanted, np.ones(len(inputs)), PENALTY, ITERATIONS))
    return np.stack(columns, axis=1)
