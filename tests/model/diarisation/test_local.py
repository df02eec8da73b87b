"""The network that tells who speaks within a segment, and the file that it comes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.diarisation.local import BUNDLED, CONFIG_KEY, OnnxDiariser, bundled_diariser
from unmingle.model.errors import ModelError
from unmingle.model.weights.bundled import WEIGHTS

RATE = 16_000


@pytest.fixture(scope="module")
def diariser() -> OnnxDiariser:
    return bundled_diariser()


def shares(diariser: OnnxDiariser, chances: np.ndarray) -> tuple[float, float]:
    """Of the time, the part in which somebody speaks, and in which several do."""
    people = diariser.config.membership[chances.argmax(1)].sum(1)
    return float((people > 0).mean()), float((people > 1).mean())


def test_it_gives_each_frame_a_chance_for_every_set_of_people(diariser):
    chances = diariser.chances(np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32))
    config = diariser.config
    assert chances.shape == ((10 * RATE - 2 * config.first - 1) // config.step + 1, len(config.sets))
    np.testing.assert_allclose(chances.sum(1), 1.0, atol=1e-5)
    assert config.sets[0] == ()
    assert config.membership.shape == (len(config.sets), 3)


def test_nobody_speaks_in_silence_and_in_noise(diariser):
    rng = np.random.default_rng(0)
    for signal in (np.zeros(5 * RATE, np.float32), rng.standard_normal(5 * RATE).astype(np.float32)):
        assert shares(diariser, diariser.chances(signal)) == (0.0, 0.0)


def test_it_hears_one_voice_alone_and_two_at_once(diariser, example):
    case = example("two_speakers")
    alone = [shares(diariser, diariser.chances(source)) for source in case.sources]
    assert all(somebody > 0.7 and several < 0.05 for somebody, several in alone)
    somebody, several = shares(diariser, diariser.chances(case.mixture))
    assert somebody > 0.8
    assert several > 0.3


def test_it_knows_who_comes_back_within_a_segment(diariser, example):
    """Two people in turn, and the first one again: the first piece and the third have the same person."""
    first, second = (source[: 4 * RATE] for source in example("two_speakers").sources)
    chances = diariser.chances(np.concatenate((first[: 3 * RATE], second[: 3 * RATE], first[RATE:])))
    speaking = chances @ diariser.config.membership
    pieces = np.array_split(speaking, 3)
    who = [int(piece.mean(0).argmax()) for piece in pieces]
    assert who[0] == who[2] != who[1]


@pytest.mark.parametrize("level", [1e-4, 30.0, 1e30])
def test_level_does_not_matter(diariser, example, level):
    mixture = example("two_speakers").mixture
    loud = diariser.chances(mixture * np.float32(level))
    np.testing.assert_allclose(loud, diariser.chances(mixture), atol=0.02)  # of 8 bits


def test_a_moment_is_enough(diariser):
    assert diariser.chances(np.ones(3, np.float32)).shape == (1, len(diariser.config.sets))
    assert np.isfinite(diariser.chances(np.zeros(0, np.float32))).all()


def test_the_same_samples_give_the_same_bytes(diariser, example):
    mixture = example("two_speakers").mixture
    first = diariser.chances(mixture).tobytes()
    diariser.chances(mixture[:RATE])
    assert diariser.chances(mixture).tobytes() == first == OnnxDiariser(BUNDLED, 1).chances(mixture).tobytes()


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        OnnxDiariser(path).chances(np.zeros(RATE, np.float32))
    return str(caught.value)


def test_what_is_no_such_network_is_refused_in_words(tmp_path):
    assert "cannot be read (No such file" in refused(tmp_path / "missing.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    assert "not a usable ONNX model" in refused(tmp_path / "junk.onnx")
    assert "no diarisation network" in refused(WEIGHTS / "unmingle.onnx")


@pytest.mark.parametrize(
    "changed,words",
    [
        ('{"version": 2}', "another version"),
        ('{"version": 1}', "damaged"),
        ("[", "damaged"),
        (DiarisationConfig("x", RATE, 495, 270, ((), (0,))).to_json(), "does not fit its own configuration"),
    ],
)
def test_a_wrong_description_is_refused_in_words(tmp_path, changed, words):
    model = onnx.load(BUNDLED)
    helper.set_model_props(model, {CONFIG_KEY: changed})
    onnx.save(model, tmp_path / "wrong.onnx")
    assert words in refused(tmp_path / "wrong.onnx")


def test_its_licence_comes_with_it():
    text = BUNDLED.with_name("README.md").read_text()
    assert "Copyright (c) 2023 CNRS" in text
    assert "Permission is hereby granted, free of charge" in text
