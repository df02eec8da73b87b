"""A model is taught to count on speakers that it never heard; those who cannot teach it are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from unmingle.model.clustering import counting
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.model.separator import Separator
from unmingle.training import calibrate

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def untaught(tmp_path) -> Path:
    """A small network of random weights, whose embeddings still differ where spectra do."""
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    export(make_network(ModelConfig(name="untaught", hidden=16, embedding_dim=6)), path)
    return path


def corpus(folder: Path, valid: int) -> Path:
    """The speakers of the examples, the first `valid` of them for validation."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "split", "speaker"))
        for number, speaker in enumerate(sorted((EXAMPLES / "training").iterdir())):
            recording = min(speaker.iterdir(), key=lambda f: f.name)
            rows.writerow((recording, "valid" if number < valid else "train", speaker.name))
    return folder


def test_a_model_that_was_taught_counts_what_it_is_given(untaught, tmp_path, capsys):
    assert calibrate.main(["--model", str(untaught), "--data", str(corpus(tmp_path, 6)), "--mixtures", "12"]) == 0
    assert "36 mixtures; with other speakers held out" in capsys.readouterr().out
    embedder = OnnxEmbedder(untaught)
    assert counting.counts_up_to(embedder.config.count_weights) == calibrate.MOST
    mixture, rate = soundfile.read(EXAMPLES / "two_speakers" / "mixture.flac", dtype="float32")
    found = Separator(embedder).separate(mixture, rate, "auto")
    assert 1 <= len(found.stems) <= calibrate.MOST
    np.testing.assert_allclose(found.stems.sum(0), mixture, atol=1e-5)


def test_other_files_of_the_same_model_learn_the_same(untaught, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(untaught.read_bytes())
    asked = ["--model", str(untaught), "--also", str(other), "--data", str(corpus(tmp_path, 6)), "--mixtures", "6"]
    assert calibrate.main(asked) == 0
    assert OnnxEmbedder(other).config == OnnxEmbedder(untaught).config
    assert OnnxEmbedder(other).config.count_weights


def test_another_model_learns_nothing(untaught, tmp_path, capsys):
    other = tmp_path / "other.onnx"
    export(make_network(ModelConfig(name="other", hidden=8, embedding_dim=6)), other)
    before = untaught.read_bytes(), other.read_bytes()
    asked = ["--model", str(untaught), "--also", str(other), "--data", str(corpus(tmp_path, 6)), "--mixtures", "6"]
    assert calibrate.main(asked) == 1
    assert "is not the same model as" in capsys.readouterr().err
    assert (untaught.read_bytes(), other.read_bytes()) == before


def test_too_few_speakers_cannot_teach(untaught, tmp_path, capsys):
    before = untaught.read_bytes()
    assert calibrate.main(["--model", str(untaught), "--data", str(corpus(tmp_path, 5)), "--mixtures", "12"]) == 1
    assert "5 speakers for 'valid'; expected 6 or more" in capsys.readouterr().err
    assert untaught.read_bytes() == before


def test_where_nothing_is_heard_the_chances_are_those_before():
    """Evidence without any connection to the number of sources."""
    counts = np.arange(3000) % calibrate.MOST + 1
    observed = np.random.default_rng(0).normal(size=(3000, 2))
    chances = counting.probabilities(np.zeros(2), calibrate.fit(observed, counts))
    np.testing.assert_allclose(chances, calibrate.PRIOR, atol=0.03)


def test_evidence_outweighs_what_was_believed_before():
    counts = np.arange(300) % calibrate.MOST + 1
    observed = counts[:, None] + np.random.default_rng(0).normal(scale=0.05, size=(300, 1))
    weights = calibrate.fit(observed, counts)
    assert [int(np.argmax(counting.probabilities(np.array([n]), weights))) + 1 for n in (1.0, 2.0, 3.0)] == [1, 2, 3]
