"""Validation takes the path of users, and leaves the network and its randomness alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.training.validation import TorchEmbedder, Validation

CONFIG = ModelConfig(hidden=8, layers=2, embedding_dim=4, frames_per_step=4)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make_network(CONFIG, dropout=0.5)


@pytest.mark.parametrize("frames", [0, 1, 7, 8])
def test_the_network_embeds_as_its_exported_file_does(network, tmp_path, frames):
    export(network, tmp_path / "m.onnx")
    features = np.random.default_rng(0).normal(size=(2, frames, CONFIG.bands)).astype(np.float32)
    ours = TorchEmbedder(network).embed(features)
    theirs = OnnxEmbedder(tmp_path / "m.onnx", "cpu").embed(features)
    assert ours.shape == theirs.shape == (2, frames, CONFIG.bands, CONFIG.embedding_dim)
    assert np.abs(ours - theirs).max(initial=0.0) < 1e-4


def test_validating_twice_gives_the_same_number_and_changes_nothing(network, speech):
    network.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    validation = Validation(speech, 2)
    first, again = (validation.si_sdr_improvement_db(network) for _ in range(2))
    assert first == again == Validation(speech, 2).si_sdr_improvement_db(network)
    assert np.isfinite(first)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)
