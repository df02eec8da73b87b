"""A model is taught to count on speakers that it never heard; those who cannot teach it are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from unmingle.model.clustering import counting, speech
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.model.separator import Separator
from unmingle.training import calibrate, speech_detection

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def untaught(tmp_path) -> Path:
    """A small network of random weights, whose embeddings still differ where spectra do."""
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    export(make_network(ModelConfig(name="untaught", hidden=16, embedding_dim=6)), path)
    return path


FEW = ("--conversations", "1")


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
    assert calibrate.main(["--model", str(untaught), "--data", str(corpus(tmp_path, 6)), "--mixtures", "12", *FEW]) == 0
    assert "recordings of speakers that were held out" in capsys.readouterr().out
    embedder = OnnxEmbedder(untaught)
    assert counting.counts_up_to(embedder.config.count_weights) == 3
    mixture, rate = soundfile.read(EXAMPLES / "two_speakers" / "mixture.flac", dtype="float32")
    found = Separator(embedder).separate(mixture, rate, "auto")
    assert 1 <= len(found.stems) <= 3
    np.testing.assert_allclose(found.stems.sum(0), mixture, atol=1e-5)


def test_other_files_of_the_same_model_learn_the_same(untaught, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(untaught.read_bytes())
    asked = [
        "--model",
        str(untaught),
        "--also",
        str(other),
        "--data",
        str(corpus(tmp_path, 6)),
        "--mixtures",
        "6",
        *FEW,
    ]
    assert calibrate.main(asked) == 0
    assert OnnxEmbedder(other).config == OnnxEmbedder(untaught).config
    assert OnnxEmbedder(other).config.count_weights
    assert OnnxEmbedder(other).config.speech_weights


def test_each_can_be_taught_without_the_other(untaught, tmp_path):
    folder = corpus(tmp_path, 6)
    asked = ["--model", str(untaught), "--data", str(folder)]
    assert calibrate.main([*asked, "--mixtures", "6", "--conversations", "0"]) == 0
    counts = OnnxEmbedder(untaught).config
    assert counts.count_weights and not counts.speech_weights
    assert calibrate.main([*asked, "--mixtures", "0", *FEW]) == 0
    both = OnnxEmbedder(untaught).config
    assert both.count_weights == counts.count_weights
    assert speech.weights_of(both) is not None


def test_without_two_training_speakers_nothing_is_learned_of_speech(untaught, tmp_path, capsys):
    before = untaught.read_bytes()
    speakers = len(list((EXAMPLES / "training").iterdir()))
    asked = ["--model", str(untaught), "--data", str(corpus(tmp_path, speakers - 1)), "--mixtures", "0"]
    assert calibrate.main(asked) == 1
    assert "two to train on" in capsys.readouterr().err
    assert untaught.read_bytes() == before


def test_another_model_learns_nothing(untaught, tmp_path, capsys):
    other = tmp_path / "other.onnx"
    export(make_network(ModelConfig(name="other", hidden=8, embedding_dim=6)), other)
    before = untaught.read_bytes(), other.read_bytes()
    asked = ["--model", str(untaught), "--also", str(other), "--data", str(corpus(tmp_path, 6)), "--mixtures", "6"]
    assert calibrate.main(asked) == 1
    assert "is not the same model as" in capsys.readouterr().err
    assert (untaught.read_bytes(), other.read_bytes()) == before


def test_one_speaker_cannot_teach(untaught, tmp_path, capsys):
    before = untaught.read_bytes()
    folder = corpus(tmp_path, 1)
    assert calibrate.main(["--model", str(untaught), "--data", str(folder), "--mixtures", "12"]) == 1
    assert "expected" in capsys.readouterr().err
    assert untaught.read_bytes() == before


def observed(evidence, numbers):
    return [calibrate.Observed(e, int(n), i // 8 % 2) for i, (e, n) in enumerate(zip(evidence, numbers, strict=True))]


def test_where_nothing_is_heard_the_chances_are_those_before():
    """Evidence without any connection to the number of sources."""
    numbers = np.arange(4000) % 8 + 1
    evidence = np.random.default_rng(0).normal(size=(4000, 7, counting.ITEMS))
    weights = calibrate.fit(observed(evidence, numbers))
    chances = counting.chances_of(np.zeros((7, counting.ITEMS)), weights)
    np.testing.assert_allclose(chances, calibrate.PRIOR, atol=0.03)


def test_evidence_outweighs_what_was_believed_before():
    numbers = np.arange(400) % 4 + 1
    evidence = np.random.default_rng(0).normal(scale=0.05, size=(400, 3, counting.ITEMS))
    evidence[..., 0] += numbers[:, None] > np.arange(1, 4)
    table = calibrate.held_out(observed(evidence, numbers))
    assert (table.found == table.numbers).all()
    assert table.chance.min() > 0.8


def test_the_report_says_how_far_the_chances_can_be_believed():
    numbers = np.array([1, 1, 2, 2])
    table = calibrate.HeldOut(numbers, np.array([1, 1, 2, 1]), np.array([0.95, 0.95, 0.95, 0.55]))
    lines = calibrate.report(table)
    assert lines[0].endswith("75.0% are counted right")
    assert "  2: 50% right, -0.50 on average" in lines
    assert "  chance 0.9 to 1.0: 100% right of 3" in lines
    assert "  chance 0.5 to 0.6: 0% right of 1" in lines


def test_the_diagram_is_a_picture(tmp_path):
    numbers = np.repeat([1, 2], 20)
    calibrate.draw(calibrate.HeldOut(numbers, numbers, np.full(40, 0.95)), tmp_path / "diagram.png")
    assert (tmp_path / "diagram.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_fitted_tells_what_it_was_shown():
    """Blocks in which a third of the inputs are one way where somebody speaks, another third where several do."""
    rng = np.random.default_rng(0)
    people = rng.integers(0, 3, 600)
    means = rng.normal(0.0, 0.3, (600, 30)).astype(np.float32)
    means[:, :10] += (people > 0)[:, None] * 0.5
    means[:, 10:20] += (people > 1)[:, None] * 0.5
    shown = [speech_detection.Observed(means[i::3], people[i::3] > 0, people[i::3] > 1) for i in range(3)]
    weights = speech_detection.fit(shown)
    odds = means @ weights[:-1] + weights[-1]
    assert ((odds[:, 0] > 0) == (people > 0)).mean() > 0.95
    somebody = people > 0
    assert ((odds[somebody, 1] > 0) == (people[somebody] > 1)).mean() > 0.95
