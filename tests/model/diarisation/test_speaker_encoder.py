"""The network that tells whose voice it is, and the file that it comes in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from unmingle.model.diarisation import local
from unmingle.model.diarisation.speaker_encoder import BUNDLED, CONFIG_KEY, EncoderConfig, OnnxSpeakerEncoder
from unmingle.model.errors import ModelError
from unmingle.model.weights.bundled import WEIGHTS

RATE = 16_000


@pytest.fixture(scope="module")
def encoder() -> OnnxSpeakerEncoder:
    return OnnxSpeakerEncoder(BUNDLED)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


def test_it_gives_a_vector_of_unit_norm(encoder, example):
    (described,) = (entry.value for entry in onnx.load(BUNDLED).metadata_props if entry.key == CONFIG_KEY)
    config = EncoderConfig.from_json(described)
    assert config.dim == 192
    assert EncoderConfig.from_json(config.to_json()) == config
    for source in example("two_speakers").sources:
        vector = encoder.vector(source)
        assert vector.shape == (config.dim,)
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["two_speakers", "same_gender", "three_speakers"])
def test_a_voice_is_closer_to_itself_than_to_others(encoder, example, name):
    """Each source in two halves, which have no sample in common."""
    sources = example(name).sources
    vectors = np.stack([encoder.vector(half) for source in sources for half in np.array_split(source, 2)])
    alike = vectors @ vectors.T
    who = np.arange(len(vectors)) // 2
    same = (who[:, None] == who) & ~np.eye(len(who), dtype=bool)
    others = who[:, None] != who
    assert alike[same].min() > 0.55
    assert alike[others].max() < 0.4


@pytest.mark.parametrize("level", [1e-3, 30.0, 1e9])
def test_level_does_not_matter(encoder, example, level):
    for source in example("two_speakers").sources:
        assert encoder.vector(source * np.float32(level)) @ encoder.vector(source) > 0.99


@pytest.mark.parametrize("samples", [0, 1, 3, 400, 719, 720, RATE])
def test_a_moment_is_enough_and_silence_does_no_harm(encoder, samples):
    for signal in (np.zeros(samples, np.float32), np.ones(samples, np.float32), noise(samples)):
        vector = encoder.vector(signal)
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_the_same_samples_give_the_same_bytes_whatever_ran_between(encoder, example):
    mixture = example("two_speakers").mixture
    first = encoder.vector(mixture).tobytes()
    encoder.vector(mixture[:RATE])
    encoder.vector(noise(3 * RATE))
    assert encoder.vector(mixture).tobytes() == first


def test_it_may_be_asked_from_several_threads_at_once(example):
    """From the first time on, for which the file is opened."""
    encoder = OnnxSpeakerEncoder(BUNDLED)
    pieces = np.array_split(example("two_speakers").mixture, 6)
    with ThreadPoolExecutor(3) as threads:
        at_once = list(threads.map(encoder.vector, pieces))
    for piece, found in zip(pieces, at_once, strict=True):
        assert encoder.vector(piece).tobytes() == found.tobytes()


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        OnnxSpeakerEncoder(path).vector(np.zeros(RATE, np.float32))
    return str(caught.value)


def test_what_is_no_such_network_is_refused_in_words(tmp_path):
    assert "cannot be read (No such file" in refused(tmp_path / "missing.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    assert "not a usable ONNX model" in refused(tmp_path / "junk.onnx")
    for other in (WEIGHTS / "unmingle.onnx", local.BUNDLED):
        assert "no speaker encoder of Unmingle's" in refused(other)


@pytest.mark.parametrize(
    "changed,words",
    [
        ('{"version": 2}', "another version"),
        ('{"version": 1}', "damaged"),
        ('{"name": "x", "dim": 192}', "damaged"),
        ("[", "damaged"),
        ("null", "damaged"),
        (EncoderConfig("x", 12).to_json(), "does not fit its own configuration"),
    ],
)
def test_a_wrong_description_is_refused_in_words(tmp_path, changed, words):
    model = onnx.load(BUNDLED)
    helper.set_model_props(model, {CONFIG_KEY: changed})
    onnx.save(model, tmp_path / "wrong.onnx")
    assert words in refused(tmp_path / "wrong.onnx")


def test_its_licence_comes_with_it():
    text = BUNDLED.with_name("README.md").read_text()
    assert "Apache License" in text
    assert "3D-Speaker" in text
