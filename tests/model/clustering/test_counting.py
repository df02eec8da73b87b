"""The number of sources is seen in the embeddings, and found between the bounds that are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from unmingle.model.clustering import counting
from unmingle.model.clustering.kmeans import EmbeddingSample, Excerpt
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.errors import ParameterError
from unmingle.model.separator import Separator
from unmingle.training.calibrate import fit

FRAMES, BANDS, DIM = 100, 30, 8


def planted(num_sources, rng, spread=0.5):
    """A segment of unit vectors around `num_sources` random directions, and weights."""
    bins = FRAMES * BANDS
    centres = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:num_sources]
    points = centres[rng.integers(num_sources, size=bins)] + spread / np.sqrt(DIM) * rng.standard_normal((bins, DIM))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return points.reshape(FRAMES, BANDS, DIM).astype(np.float32), rng.random((FRAMES, BANDS)).astype(np.float32)


def evidence(points, weights, rng):
    """Of a recording of one segment."""
    sample = EmbeddingSample()
    sample.add(OnHost(points), weights, rng)
    return counting.evidence(sample, rng)


@pytest.fixture(scope="module")
def taught():
    rng = np.random.default_rng(0)
    counts = np.arange(60) % 3 + 1
    return fit(np.stack([evidence(*planted(k, rng), rng) for k in counts]), counts)


@pytest.mark.parametrize("num_sources", [1, 2, 3])
def test_planted_sources_are_counted(taught, num_sources):
    rng = np.random.default_rng(num_sources)
    for _ in range(5):
        chances = counting.probabilities(evidence(*planted(num_sources, rng), rng), taught)
        assert chances.sum() == pytest.approx(1.0)
        assert chances.argmax() + 1 == num_sources


def test_evidence_does_not_depend_on_the_directions_nor_on_the_scale_of_the_weights():
    rng = np.random.default_rng(4)
    points, weights = planted(2, rng)
    turned = (points @ np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]).astype(np.float32)
    plain = evidence(points, weights, np.random.default_rng(0))
    np.testing.assert_allclose(evidence(turned, 7 * weights, np.random.default_rng(0)), plain, atol=2e-2)


def test_two_halves_of_one_voice_rise_and_fall_together_and_two_voices_do_not():
    rng = np.random.default_rng(3)
    centres = np.eye(2, DIM, dtype=np.float32)
    frames = np.repeat(np.arange(480), 20)
    bursts = rng.random((2, 40)) < 0.5
    loud = bursts[:, frames // 12]
    which = rng.integers(2, size=len(frames))

    def correlation(weights):
        envelope = counting.envelopes([Excerpt(centres[which], weights.astype(np.float32), frames)], centres)
        assert envelope.shape == (2, 40)
        assert envelope.sum() == pytest.approx(weights.sum(), rel=1e-5)
        return np.corrcoef(np.log(envelope + 0.1))[0, 1]

    assert correlation(0.01 + loud[0]) > 0.9
    assert correlation(0.01 + loud[which, np.arange(len(which))]) < 0.4


def test_the_evidence_is_finite_for_the_shortest_recording():
    sample = EmbeddingSample()
    sample.add(OnHost(np.eye(1, DIM, dtype=np.float32)[None]), np.ones((1, 1), np.float32), np.random.default_rng(0))
    assert np.isfinite(counting.evidence(sample, np.random.default_rng(0))).all()


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
        self.segments_at_once = embedder.segments_at_once


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


def test_where_nothing_is_said_they_are_counted_if_the_model_can(small_embedder, taught, example):
    mixture = example("two_speakers").mixture
    counted = Separator(Taught(small_embedder, taught)).separate(mixture, 16_000)
    assert counted.count_chance is not None
    assert len(counted.stems) == len(Separator(Taught(small_embedder, taught)).separate(mixture, 16_000, "auto").stems)
    untaught = Separator(small_embedder)
    for bounds, stems in (((1, 8), 2), ((3, 8), 3), ((1, 1), 1)):
        found = untaught.separate(mixture, 16_000, min_sources=bounds[0], max_sources=bounds[1])
        assert (len(found.stems), found.count_chance) == (stems, None)


def test_there_is_room_for_as_many_stems_as_there_can_be(small_embedder, taught):
    counting_one, other = Separator(Taught(small_embedder, taught)), Separator(small_embedder)
    for asked in (None, "auto"):
        assert [counting_one.most_stems(asked, most) for most in (1, 2, 8)] == [1, 2, 3]
    assert other.most_stems(None, 8) == 2
    assert other.most_stems(5, 8) == 5
