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
from unmingle.model.options import SeparationOptions
from unmingle.model.recording import ArrayRecording
from unmingle.model.separator import Separator
from unmingle.training.calibrate import Observed, fit

FRAMES, BANDS, DIM = 100, 30, 8


def planted(num_sources, rng, spread=0.5):
    """A segment of unit vectors around `num_sources` random directions, and weights."""
    bins = FRAMES * BANDS
    centres = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:num_sources]
    points = centres[rng.integers(num_sources, size=bins)] + spread / np.sqrt(DIM) * rng.standard_normal((bins, DIM))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return points.reshape(FRAMES, BANDS, DIM).astype(np.float32), rng.random((FRAMES, BANDS)).astype(np.float32)


def evidence(points, weights, rng, foreground=1.0):
    """Of a recording of one segment."""
    sample = EmbeddingSample()
    sample.add(OnHost(points), weights, rng)
    return counting.Evidence(sample, foreground, rng)


def questions(found, most=3):
    return np.stack([found.more_than(number) for number in range(1, most + 1)])


@pytest.fixture(scope="module")
def taught():
    rng = np.random.default_rng(0)
    return fit([Observed(questions(evidence(*planted(k, rng), rng)), k, 0) for k in np.arange(80) % 4 + 1])


@pytest.mark.parametrize("num_sources", [1, 2, 3, 4])
def test_planted_sources_are_counted(taught, num_sources):
    rng = np.random.default_rng(num_sources)
    for _ in range(5):
        chances = counting.probabilities(evidence(*planted(num_sources, rng), rng), taught)
        assert chances.shape == (4,)
        assert chances.sum() == pytest.approx(1.0)
        assert chances.argmax() + 1 == num_sources


def test_what_is_unlikely_is_not_looked_at(taught):
    rng = np.random.default_rng(5)
    found = evidence(*planted(1, rng), rng)
    quick = counting.probabilities(found, taught)
    np.testing.assert_allclose(quick, counting.chances_of(questions(found), taught), atol=0.011)


def test_evidence_does_not_depend_on_the_directions_nor_on_the_scale_of_the_weights():
    rng = np.random.default_rng(4)
    points, weights = planted(2, rng)
    turned = (points @ np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]).astype(np.float32)
    plain = questions(evidence(points, weights, np.random.default_rng(0)), 1)
    # Three clusters of two sources are an accident of rounding, so only the first question has one answer.
    again = questions(evidence(turned, 7 * weights, np.random.default_rng(0)), 1)
    np.testing.assert_allclose(again, plain, atol=2e-2)


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
    assert np.isfinite(questions(counting.Evidence(sample, 1.0, np.random.default_rng(0)), 7)).all()


def test_weights_travel_with_the_model(taught):
    config = ModelConfig(count_weights=taught)
    assert ModelConfig.from_json(config.to_json()) == config


def test_a_model_that_was_not_taught_says_so(small_embedder, example):
    with pytest.raises(ParameterError, match="counts no sources, so min_sources=1 cannot be counted; give num_sources"):
        Separator(small_embedder).separate(example("two_speakers").mixture, 16_000, "auto")


@pytest.mark.parametrize(("fewest", "most"), [(0, 2), (3, 2), (1, 9)])
def test_bounds_that_make_no_sense_are_refused(fewest, most):
    with pytest.raises(ParameterError, match="min_sources"):
        SeparationOptions("auto", min_sources=fewest, max_sources=most)


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
        found = separator.separate(mixture, 16_000, options=SeparationOptions("auto", *bounds))
        assert bounds[0] <= len(found.stems) <= bounds[1]
        assert found.count_chance is not None
        assert 1 / 4 <= found.count_chance <= 1
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
        found = untaught.separate(mixture, 16_000, options=SeparationOptions(None, *bounds))
        assert (len(found.stems), found.count_chance) == (stems, None)


def test_there_is_room_for_as_many_stems_as_there_can_be(small_embedder, taught):
    counting_one, other = Separator(Taught(small_embedder, taught)), Separator(small_embedder)
    for asked in (None, "auto"):
        assert [counting_one.abilities.most_stems(SeparationOptions(asked, 1, most)) for most in (1, 2, 8)] == [1, 2, 4]
    assert other.abilities.most_stems(SeparationOptions()) == 2
    assert other.abilities.most_stems(SeparationOptions(5)) == 5
    assert other.abilities.most_stems(SeparationOptions(5, background="stem")) == 6


def test_more_than_the_model_counts_is_refused_before_anything_is_read(small_embedder, taught):
    class Unread(ArrayRecording):
        def blocks(self):
            raise AssertionError("the recording was read")

    separator = Separator(Taught(small_embedder, taught))
    with pytest.raises(ParameterError, match="counts up to 4 sources, so min_sources=5 cannot be counted"):
        separator.separate_recording(Unread(np.zeros(100, np.float32), 16_000), print, SeparationOptions("auto", 5))
