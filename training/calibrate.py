"""Teach a finished model to count: `python training/calibrate.py --model FILE --data CORPUS`.

Makes mixtures of 1, 2 and 3 validation speakers, fits a multinomial logistic regression from the evidence of
model/counting.py to their number, and writes its weights into the model file's metadata.
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
from model.embedder import OnnxEmbedder
from model.errors import UnmingleError
from model.export import describe
from model.recording import ArrayRecording
from training.corpus import find_recordings, load_corpus
from training.mixtures import MixtureConfig, MixtureSampler

SPLITS = ("valid", "valid_closed")
SECONDS = (3.0, 5.0, 8.0)
PENALTY = 0.003

Evidence = NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate a model file in place; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="ONNX file, changed in place")
    parser.add_argument("--data", type=Path, required=True, help="corpus whose validation speakers are used")
    parser.add_argument("--mixtures", type=int, default=200, help="of each number of sources (default 200)")
    asked = parser.parse_args(argv)
    try:
        embedder = OnnxEmbedder(asked.model, "cpu")
        observed, counts = observe(embedder, asked.data, asked.mixtures)
        # Every fourth mixture says how good the fit is; the weights that are kept come from all.
        held_out = np.arange(len(counts)) // 3 % 4 == 0
        trial = fit(observed[~held_out], counts[~held_out])
        right = [int(np.argmax(counting.probabilities(e, trial))) + 1 for e in observed[held_out]] == counts[held_out]
        print(f"{len(counts)} mixtures; of a quarter held out, {np.mean(right):.1%} are counted right")
        config = dataclasses.replace(embedder.config, count_weights=fit(observed, counts))
        temporary = asked.model.with_suffix(".onnx.partial")
        shutil.copyfile(asked.model, temporary)
        describe(temporary, config.to_json())
        os.replace(temporary, asked.model)
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def observe(embedder: OnnxEmbedder, data: Path, mixtures: int) -> tuple[Evidence, NDArray[np.int64]]:
    """(mixtures, items) evidence and (mixtures,) numbers of sources, 1, 2 and 3 in turn."""
    config = embedder.config
    found = [r for r in find_recordings(data) if r.split in SPLITS and r.is_speech]
    corpus = load_corpus(found, config.sample_rate)
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    samplers = [
        MixtureSampler(corpus, MixtureConfig(tuple(float(n == count) for n in range(3))), generator)
        for count in range(3)
    ]
    rows = []
    for index in tqdm(range(3 * mixtures)):
        sampler = samplers[index % 3]
        samples = round(SECONDS[index // 3 % len(SECONDS)] * config.sample_rate)
        mixture = sampler.sources(sampler.draw(1, samples), samples)[0].sum(0).numpy()
        pieces = segments.heard_magnitude(ArrayRecording(mixture, config.sample_rate), config)
        magnitude = np.concatenate(list(pieces))
        embeddings = embedder.embed(features.log_magnitude(magnitude, config.floor_db)[None])[0]
        weights = features.clustering_weights(magnitude).ravel()
        sample = EmbeddingSample()
        sample.add(embeddings.reshape(-1, config.embedding_dim), weights, rng)
        rows.append(counting.evidence(*sample.all(), rng))
    return np.stack(rows), np.arange(3 * mixtures) % 3 + 1


def fit(observed: Evidence, counts: NDArray[np.int64]) -> counting.Weights:
    """Multinomial logistic regression with a small quadratic penalty, on standardised evidence."""
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
    constant = table[:, -1] - scaled @ mean
    return tuple(tuple(map(float, row)) for row in np.column_stack((scaled, constant)))


if __name__ == "__main__":
    sys.exit(main())
