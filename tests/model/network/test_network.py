"""Every kind of embedding network, from features to unit vectors, in torch and as an exported file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.model.conftest import lively_network
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder, pad_frames
from unmingle.model.network.export import export, export_float16
from unmingle.model.network.trunk import make_network

pytestmark = pytest.mark.slow

CONFIGS = {
    "blstm": ModelConfig(layers=2, hidden=12, embedding_dim=6),
    "dual_path": ModelConfig(trunk="dual_path", layers=2, hidden=12, channels=10, patch_bands=6, embedding_dim=6),
    # Neither the bands nor, below, the frames divide into whole patches.
    "odd patches": ModelConfig(
        trunk="dual_path", layers=1, hidden=8, channels=7, patch_bands=50, frames_per_step=3, embedding_dim=5
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    return lively_network(CONFIGS[request.param], seed=2, larger=2.0, mean=-2.0, deviation=1.5)


def heard_by(network, segments=3, frames=48, seed=0):
    return np.random.default_rng(seed).normal(-2.0, 2.0, (segments, frames, network.config.bands)).astype(np.float32)


def embedded(network, features):
    with torch.no_grad():
        return network(torch.from_numpy(features)).numpy()


def test_each_band_of_each_frame_gets_a_unit_vector(network):
    v = embedded(network, heard_by(network))
    assert v.shape == (3, 48, network.config.bands, network.config.embedding_dim)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), 1.0, atol=1e-5)
    assert v.std((1, 2)).min() > 0.01


def test_what_else_is_in_the_batch_changes_nothing(network):
    features = heard_by(network)
    together = embedded(network, features)
    for index in range(len(features)):
        assert np.abs(embedded(network, features[index : index + 1])[0] - together[index]).max() < 1e-5


def test_every_embedding_hears_all_bands_and_both_directions_of_time(network):
    """Or a voice could not be told by its other harmonics, nor by what it said before and says next."""
    features = torch.from_numpy(heard_by(network, 1)).requires_grad_()
    frames, bands = features.shape[1:]
    for frame, band in ((0, 0), (frames // 2, bands // 2), (frames - 1, bands - 1)):
        network(features)[0, frame, band, 0].backward()
        assert (features.grad[0].abs().sum(1) > 0).all()
        assert (features.grad[0].abs().sum(0) > 0).all()
        features.grad = None


def test_every_weight_learns(network):
    (network(torch.from_numpy(heard_by(network))) * torch.arange(network.config.embedding_dim)).sum().backward()
    without = [name for name, weight in network.named_parameters() if not weight.grad.abs().sum() > 0]
    network.zero_grad()
    assert not without


@pytest.mark.parametrize("write,far", [(export, 1e-4), (export_float16, 0.05)])
@pytest.mark.parametrize("segments,frames", [(1, 1), (1, 50), (2, 121)])
def test_the_exported_file_embeds_alike(network, tmp_path, write, far, segments, frames):
    write(network, tmp_path / "model.onnx")
    features = heard_by(network, segments, frames)
    found = OnnxEmbedder(tmp_path / "model.onnx", "cpu", threads=2).embed(features)
    expected = embedded(network, pad_frames(features, network.config))[:, :frames]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < far


def test_dropout_is_for_training_only():
    network = make_network(CONFIGS["dual_path"], dropout=0.5)
    features = torch.from_numpy(heard_by(network))
    with torch.no_grad():
        assert not torch.equal(network.train()(features), network(features))
        assert torch.equal(network.eval()(features), network(features))
