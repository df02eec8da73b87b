"""Whether somebody speaks, and whether several do: what a model is taught, and what the shipped one knows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from unmingle.model.clustering import speech
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.errors import ModelError
from unmingle.model.recording import ArrayRecording
from unmingle.model.signal import features, segments

RATE = 16_000
CONFIG = ModelConfig(embedding_dim=3)


@pytest.fixture(scope="module")
def taught():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((CONFIG.bands * CONFIG.embedding_dim + 1, speech.QUESTIONS))
    return dataclasses.replace(CONFIG, speech_weights=speech.stored(weights))


def some_embeddings(frames, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((frames, CONFIG.bands, CONFIG.embedding_dim))
    return OnHost((vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32))


def test_weights_come_back_from_a_configuration(taught):
    again = ModelConfig.from_json(taught.to_json())
    weights = speech.weights_of(again)
    assert weights.shape == (CONFIG.bands * CONFIG.embedding_dim + 1, 2)
    assert speech.stored(weights) == taught.speech_weights


@pytest.mark.parametrize("damaged", ["no base64!", "AAAA", "AAA"])
def test_damaged_weights_are_refused(damaged):
    with pytest.raises(ModelError, match="publish it again"):
        speech.weights_of(dataclasses.replace(CONFIG, speech_weights=damaged))


def test_a_model_that_was_not_taught_says_nothing():
    track = speech.SpeechTrack(CONFIG)
    track.push(0, some_embeddings(100))
    assert track.at(np.array([0.1, 0.2])) is None


def test_parts_that_are_written_down_and_joined_say_what_the_whole_says(taught):
    whole, first, second = (speech.SpeechTrack(taught) for _ in range(3))
    for number in range(4):
        for track in (whole, first if number < 2 else second):
            track.push(200 * number, some_embeddings(250, number))
    again = [speech.SpeechTrack(taught) for _ in range(2)]
    for track, found in zip(again, (first, second), strict=True):
        track.restore(found.arrays())
    again[0].extend(again[1])
    seconds = np.linspace(0.0, 8.0, 100)
    np.testing.assert_array_equal(again[0].at(seconds), whole.at(seconds))
    assert np.ptp(whole.at(seconds), axis=1).min() > 0


def test_with_a_part_that_an_older_version_wrote_nothing_is_said(taught):
    track, older = speech.SpeechTrack(taught), speech.SpeechTrack(taught)
    track.push(0, some_embeddings(100))
    older.restore({})
    track.extend(older)
    assert track.at(np.array([0.1])) is None


def test_less_than_a_block_is_a_block(taught):
    track = speech.SpeechTrack(taught)
    track.push(0, some_embeddings(5))
    assert track.at(np.array([0.0])).shape == (2, 1)


def log_odds(embedder, samples):
    """(questions,) the median over a recording."""
    track = speech.SpeechTrack(embedder.config)
    heard = segments.heard_magnitude(ArrayRecording(samples[None], RATE), embedder.config)
    for segment in segments.cut(heard, segments.SegmentLayout()):
        observed = features.log_magnitude(segment.magnitude, embedder.config.floor_db)
        track.push(segment.start, OnHost(embedder.embed(observed[None])[0]))
    return np.median(track.at(np.arange(0.2, len(samples) / RATE, 0.1)), axis=1)


def test_the_shipped_model_tells_speech_from_noise_and_one_voice_from_two(bundled_model, example):
    embedder = OnnxEmbedder(bundled_model, "cpu")
    voices = example("two_speakers").sources
    for voice in voices:
        somebody, several = log_odds(embedder, voice)
        assert somebody > 1.0
        assert several < 0.0
    both = log_odds(embedder, voices.sum(0))
    assert both.min() > 0.0
    noise = 0.05 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    assert log_odds(embedder, noise)[0] < -1.0
