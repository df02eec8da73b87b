"""A run becomes a model that the separator loads, whole or in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.training.conftest import ROOT
from unmingle import Separator
from unmingle.model.clustering import counting
from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint, publish

pytestmark = pytest.mark.slow

NETWORK = ModelConfig(hidden=64)


@pytest.fixture
def trained(tmp_path):
    for seed in (1, 2):
        torch.manual_seed(seed)
        folder = tmp_path / "runs" / f"run-{seed}"
        folder.mkdir(parents=True)
        checkpoint.save_network(folder / checkpoint.BEST, make_network(NETWORK))
    return tmp_path / "runs"


def published(runs: Path, name: str, *options: str) -> Path:
    output = runs.parent / f"{name}.onnx"
    arguments = ["run-1", "run-2", "--runs-folder", str(runs), "--name", name, "-o", str(output), *options]
    assert publish.main(arguments) == 0
    return output


def test_eight_bits_embed_as_the_whole_does(trained):
    whole, small = published(trained, "whole", "--mask-sharpness", "4"), published(trained, "small", "--int8")
    assert small.stat().st_size < 0.35 * whole.stat().st_size
    separators = [Separator.load(path) for path in (whole, small)]
    assert [s.embedder.config.name for s in separators] == ["whole", "small"]
    assert separators[0].embedder.config.mask_sharpness == 4.0
    features = np.random.default_rng(0).standard_normal((2, 50, NETWORK.bands)).astype(np.float32)
    one, other = (s.embedder.embed(features) for s in separators)
    assert (one * other).sum(-1).mean() > 0.99
    assert sorted(path.name for path in trained.parent.glob("*onnx*")) == ["small.onnx", "whole.onnx"]


def test_the_mean_weights_can_be_gone_on_from(trained):
    published(trained, "mean", "--checkpoint", str(trained / "mean.pt"))
    network = make_network(NETWORK)
    checkpoint.load_weights(trained / "mean.pt", network)
    one, two = (torch.load(trained / f"run-{n}" / checkpoint.BEST, weights_only=True)["network"] for n in (1, 2))
    torch.testing.assert_close(network.head.weight, (one["head.weight"] + two["head.weight"]) / 2)


def test_a_run_that_is_not_there(trained, capsys):
    output = trained.parent / "x.onnx"
    assert publish.main(["nothing", "--runs-folder", str(trained), "--name", "x", "-o", str(output)]) == 1
    assert "There is no checkpoint nothing" in capsys.readouterr().err
    assert not output.exists()


def config_of(path: Path) -> ModelConfig:
    return Separator.load(path).embedder.config


def test_a_published_model_counts_after_one_command(trained, capsys):
    corpus = str(ROOT / "examples" / "training")
    path = published(trained, "counts", "--int8", "--calibrate", corpus, "--mixtures", "6", "--conversations", "1")
    assert counting.counts_up_to(config_of(path).count_weights) == 3
    assert config_of(path).speech_weights
    told = capsys.readouterr().out
    assert "only 3 speakers taught it, so the chances are kept wide" in told
    assert sorted(file.name for file in trained.parent.glob("*onnx*")) == ["counts.onnx"]


def test_with_too_few_speakers_the_old_counting_is_kept_and_marked(trained, capsys):
    corpus = str(ROOT / "examples" / "training")
    old = published(trained, "old", "--calibrate", corpus, "--mixtures", "6", "--conversations", "1")
    path = published(trained, "tuned", "--calibrate", corpus, "--keep-counting", str(old))
    assert config_of(path).count_weights == config_of(old).count_weights != ()
    assert config_of(path).speech_weights == config_of(old).speech_weights != ""
    marks = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert marks[publish.COUNTING_OF_KEY] == config_of(old).name
    assert f"counts as {config_of(old).name} was taught to (the corpus has only 3 speakers" in capsys.readouterr().out


def test_counting_cannot_be_kept_of_a_model_that_does_not_count(trained, capsys):
    old = published(trained, "old")
    output = trained.parent / "new.onnx"
    asked = ["run-1", "--runs-folder", str(trained), "--name", "new", "-o", str(output), "--keep-counting", str(old)]
    assert publish.main(asked) == 1
    assert "was not taught to count" in capsys.readouterr().err
    assert not output.exists()
