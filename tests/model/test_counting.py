"""The number of sources is seen in the embeddings, and found between the bounds that are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model import counting
from model.config import ModelConfig
from model.embedder import OnnxEmbedder
from model.errors import ParameterError
from model.separator import Separator
from training.calibrate import fit

BINS, DIM = 3000, 8


def planted(num_sources, rng, spread=0.5):
    """Unit vectors around `num_sources` random directions, and weights."""
    centres = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:num_sources]
    points = centres[rng.integers(num_sources, size=BINS)] + spread / np.sqrt(DIM) * rng.standard_normal((BINS, DIM))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return points.astype(np.float32), rng.random(BINS).astype(np.float32)


@pytest.fixture(scope="module")
def taught():
    rng = np.random.default_rng(0)
    counts = np.arange(60) % 3 + 1
    return fit(np.stack([counting.evidence(*planted(k, rng), rng) for k in counts]), counts)


@pytest.mark.parametrize("num_sources", [1, 2, 3])
def test_planted_sources_are_counted(taught, num_sources):
    rng = np.random.default_rng(num_sources)
    for _ in range(5):
        chances = counting.probabilities(counting.evidence(*planted(num_sources, rng), rng), taught)
        assert chances.sum() == pytest.approx(1.0)
        assert chances.argmax() + 1 == num_sources


def test_evidence_does_not_depend_on_the_directions_nor_on_the_scale_of_the_weights():
    rng = np.random.default_rng(4)
    points, weights = planted(2, rng)
    turned = (points @ np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]).astype(np.float32)
    plain = counting.evidence(points, weights, np.random.default_rng(0))
    np.testing.assert_allclose(counting.evidence(turned, 7 * weights, np.random.default_rng(0)), plain, atol=2e-2)


def test_weights_travel_with_the_model(taught):
    config = ModelConfig(count_weights=taught)
    assert ModelConfig.from_json(config.to_json()) == config


def test_a_model_that_was_not_taught_says_so(small_embedder, example):
    with pytest.raises(ParameterError, match="counts no sources; give num_sources"):
        Separator(small_embedder).separate(example("two_speakers").mixture, 16_000, "auto")


@pytest.mark.parametrize(("fewest", "most"), [(0, 2), (3, 2), (1, 9)])
def test_bounds_that_make_no_sense_are_refused(small_embedder, example, fewest, most):
    with pytest.raises(ParameterError, match="min_sources"):
        Separator(small_embedder).separate(
            example("two_speakers").mixture, 16_000, "auto", min_sources=fewest, max_sources=most
        )


class Taught:
    """An embedder whose model can count, for what it is worth."""

    def __init__(self, embedder: OnnxEmbedder, weights: counting.Weights) -> None:
        self.config = dataclasses.replace(embedder.config, count_weights=weights)
        self.embed = embedder.embed


def test_the_count_stays_between_the_bounds_and_says_how_sure_it_is(small_embedder, taught, example):
    separator = Separator(Taught(small_embedder, taught))
    mixture = example("two_speakers").mixture
    for bounds in ((1, 3), (2, 2), (2, 3), (3, 8)):
        found = separator.separate(mixture, 16_000, "auto", min_sources=bounds[0], max_sources=bounds[1])
        assert bounds[0] <= len(found.stems) <= bounds[1]
        assert found.count_chance is not None
        assert 1 / 3 <= found.count_chance <= 1
        np.testing.assert_allclose(found.stems.sum(0), mixture, atol=1e-5)
    assert separator.separate(mixture, 16_000, 2).count_chance is None
    silence = separator.separate(np.zeros(8000, np.float32), 16_000, "auto")
    assert len(silence.stems) == 1
    assert not silence.stems.any()
