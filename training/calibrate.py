"""Teach a finished model to count: `python training/calibrate.py --model FILE [--also FILE...] --data CORPUS`.

Makes mixtures of 1, 2 and 3 validation speakers, fits a multinomial logistic regression from the evidence of
model/counting.py to their number, and writes its weights into the model file's metadata. Only speakers that the network
never heard are used: it keeps the voices it knows further apart than those of strangers, who are what users have.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script from a checkout: let it find the packages beside this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from tqdm import tqdm

from model import counting, features, segments
from model.clustering import EmbeddingSample
from model.embedded import OnHost
from model.embedder import OnnxEmbedder
from model.errors import UnmingleError
from model.export import describe
from model.recording import ArrayRecording
from training.augment.conditions import Conditions
from training.augment.rooms import make_rooms
from training.augment.scene import Surroundings, make_scene
from training.corpus import find_recordings, load_corpus
from training.errors import TrainingError
from training.mixtures import MixtureConfig, MixtureSampler

SPLIT = "valid"
SECONDS = (3.0, 5.0, 8.0)
PENALTY = 0.002
SPEED_RANGE = 0.12
"""Voices are played up to this much faster or slower: there are few of them, and these count as more."""
FOLDS = 4
CONDITIONS = Conditions(room_chance=1 / 3, noise_chance=1 / 4, loud_noise_db=5.0, soft_noise_db=35.0)
"""An echo is not somebody else, nor is noise."""
ROOMS = 40
MOST = 3
"""Sources in a mixture."""
PRIOR = (0.25, 0.5, 0.25)
"""Chance of 1, 2 and 3 sources before anything is heard: most who have a recording separated hear two in it."""

Evidence = NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate a model file in place; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="ONNX file, changed in place")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="files of the same model that learn the same")
    parser.add_argument("--data", type=Path, required=True, help="corpus whose validation speakers are used")
    parser.add_argument("--mixtures", type=int, default=300, help="of each number of sources (default 300)")
    asked = parser.parse_args(argv)
    try:
        embedder = OnnxEmbedder(asked.model, "cpu")
        for file in asked.also:
            if OnnxEmbedder(file, "cpu").config != embedder.config:
                raise TrainingError(f"{file} is not the same model as {asked.model}: publish both from one checkpoint.")
        observed, counts, folds = observe(embedder, asked.data, asked.mixtures)
        # Each group of speakers in turn says how well the others teach; the weights that are kept come from all.
        right = np.zeros(len(counts), bool)
        for fold in np.unique(folds):
            trial = fit(observed[folds != fold], counts[folds != fold])
            right[folds == fold] = [
                np.argmax(counting.probabilities(e, trial)) + 1 == n
                for e, n in zip(observed[folds == fold], counts[folds == fold], strict=True)
            ]
        each = ", ".join(f"{right[counts == n].mean():.0%} of {n}" for n in range(1, MOST + 1))
        print(f"{len(counts)} mixtures; with other speakers held out, {right.mean():.1%} are counted right ({each})")
        config = dataclasses.replace(embedder.config, count_weights=fit(observed, counts))
        for file in (asked.model, *asked.also):
            temporary = file.with_suffix(".onnx.partial")
            shutil.copyfile(file, temporary)
            describe(temporary, config.to_json())
            os.replace(temporary, file)
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def observe(embedder: OnnxEmbedder, data: Path, mixtures: int) -> tuple[Evidence, NDArray[np.int64], NDArray[np.int64]]:
    """What mixtures of 1, 2 and 3 sources, in turn, look like.

    Args:
        mixtures: of each number of sources.

    Returns:
        (mixtures, items) evidence, (mixtures,) numbers of sources, and (mixtures,) group of speakers, from 0 on;
        no speaker is in two groups.
    """
    config = embedder.config
    found = [r for r in find_recordings(data) if r.split == SPLIT and r.is_speech]
    speakers = sorted({r.speaker for r in found})
    folds = min(FOLDS, len(speakers) // MOST)
    if folds < 2:
        raise TrainingError(
            f"The corpus {data} has {len(speakers)} speakers for '{SPLIT}'; expected {2 * MOST} or more, to learn "
            f"counting up to {MOST} from some and to try it on others."
        )
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    samplers = []
    for fold in range(folds):
        group = set(speakers[fold::folds])
        corpus = load_corpus([r for r in found if r.speaker in group], config.sample_rate)
        for count in range(MOST):
            chances = tuple(float(n == count) for n in range(MOST))
            samplers.append(MixtureSampler(corpus, MixtureConfig(chances, speed_range=SPEED_RANGE), generator))
    surroundings = Surroundings(make_rooms(ROOMS, MOST, config.sample_rate, rng))
    rows = []
    for index in tqdm(range(MOST * mixtures)):
        sampler = samplers[index % len(samplers)]
        samples = round(SECONDS[index // len(samplers) % len(SECONDS)] * config.sample_rate)
        sources = sampler.sources(sampler.draw(1, samples), samples)
        mixture = make_scene(sources, CONDITIONS, surroundings, 1, config.sample_rate, generator).mixture[0].numpy()
        pieces = segments.heard_magnitude(ArrayRecording(mixture, config.sample_rate), config)
        magnitude = np.concatenate(list(pieces))
        embeddings = embedder.embed(features.log_magnitude(magnitude, config.floor_db)[None])[0]
        sample = EmbeddingSample()
        sample.add(OnHost(embeddings), features.clustering_weights(magnitude), rng)
        rows.append(counting.evidence(sample, rng))
    number = np.arange(MOST * mixtures)
    return np.stack(rows), number % MOST + 1, number % len(samplers) // MOST


def fit(observed: Evidence, counts: NDArray[np.int64]) -> counting.Weights:
    """Multinomial logistic regression with a small quadratic penalty, on standardised evidence; then PRIOR.

    Args:
        observed: (mixtures, items) evidence.
        counts: (mixtures,) 1 to MOST, as many of each.
    """
    mean, deviation = observed.mean(0), observed.std(0)
    inputs = np.column_stack(((observed - mean) / deviation, np.ones(len(observed))))
    wanted = np.eye(int(counts.max()))[counts - 1]

    def loss(flat: Evidence) -> tuple[float, Evidence]:
        table = flat.reshape(wanted.shape[1], -1)
        scores = inputs @ table.T
        scores -= scores.max(1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        slope = (np.exp(logs) - wanted).T @ inputs / len(inputs) + 2 * PENALTY * table
        return float(-(logs * wanted).sum() / len(inputs) + PENALTY * np.square(table).sum()), slope.ravel()

    start = np.zeros(wanted.shape[1] * inputs.shape[1])
    table = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(wanted.shape[1], -1)
    scaled = table[:, :-1] / deviation
    constant = table[:, -1] - scaled @ mean + np.log(PRIOR)
    return tuple(tuple(map(float, row)) for row in np.column_stack((scaled, constant)))


if __name__ == "__main__":
    sys.exit(main())
