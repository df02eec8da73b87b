"""A run becomes a model that the separator loads, whole or in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unmingle import Separator
from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint, publish

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
