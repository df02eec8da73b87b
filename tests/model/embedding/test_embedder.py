"""The exported file says what it is, gives what the torch network gives, and a file that is not one is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import CONFIG_KEY, OnnxEmbedder, pad_frames
from unmingle.model.errors import ModelError, ProviderError
from unmingle.model.network.export import describe, export
from unmingle.model.network.trunk import make_network


def some_features(segments, frames, bands, seed=0):
    return np.random.default_rng(seed).normal(-2.0, 2.0, (segments, frames, bands)).astype(np.float32)


@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 2, 3, 50, 401])
def test_torch_and_onnx_agree(small_network, small_embedder, segments, frames):
    config = small_network.config
    heard = some_features(segments, frames, config.bands)
    with torch.no_grad():
        expected = small_network(torch.from_numpy(pad_frames(heard, config)))[:, :frames].numpy()
    found = small_embedder.embed(heard)
    assert found.shape == (segments, frames, config.bands, config.embedding_dim)
    assert np.abs(found - expected).max() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=1e-4)
    # The comparison means something only where embeddings depend on what is heard.
    assert frames < 3 or found.std(1).max() > 0.1


@pytest.mark.parametrize("frames_per_step", [1, 3])
def test_other_step_sizes_agree_too(tmp_path, frames_per_step):
    config = ModelConfig(layers=2, hidden=8, embedding_dim=4, frames_per_step=frames_per_step)
    network = make_network(config, dropout=0.5).eval()
    export(network, tmp_path / "model.onnx")
    heard = some_features(2, 3 * frames_per_step, config.bands)
    with torch.no_grad():
        expected = network(torch.from_numpy(heard)).numpy()
    assert np.abs(OnnxEmbedder(tmp_path / "model.onnx", "cpu").embed(heard) - expected).max() < 1e-4


def test_neighbours_in_a_batch_change_nothing(small_embedder):
    heard = some_features(4, 60, small_embedder.config.bands)
    together = small_embedder.embed(heard)
    for index in range(4):
        assert np.abs(small_embedder.embed(heard[index : index + 1])[0] - together[index]).max() < 1e-5


@pytest.mark.parametrize("shape", [(0, 10), (1, 0), (0, 0)])
def test_nothing_in_nothing_out(small_embedder, shape):
    config = small_embedder.config
    embedded = small_embedder.embed(np.zeros((*shape, config.bands), np.float32))
    assert embedded.shape == (*shape, config.bands, config.embedding_dim)


def test_the_file_describes_itself(small_network, small_model, small_embedder):
    assert small_embedder.config == small_network.config
    assert small_embedder.provider == "CPUExecutionProvider"
    assert len(small_embedder.model_hash) == 12
    assert OnnxEmbedder(small_model, "cpu").model_hash == small_embedder.model_hash


def test_export_leaves_the_network_as_it_was_and_no_other_file(tmp_path):
    network = make_network(ModelConfig(layers=1, hidden=8)).train()
    export(network, tmp_path / "model.onnx")
    assert network.training
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_without_metadata_is_refused(small_model, tmp_path):
    graph = onnx.load(str(small_model))
    del graph.metadata_props[:]
    path = tmp_path / "foreign.onnx"
    onnx.save(graph, str(path))
    with pytest.raises(ModelError, match=CONFIG_KEY):
        OnnxEmbedder(path, "cpu")


def test_a_model_that_does_not_fit_its_metadata_is_refused(small_network, small_model, tmp_path):
    path = tmp_path / "wrong.onnx"
    path.write_bytes(small_model.read_bytes())
    describe(path, dataclasses.replace(small_network.config, high_group=1).to_json())
    with pytest.raises(ModelError, match="does not fit"):
        OnnxEmbedder(path, "cpu")


def test_a_model_of_another_format_is_refused(small_model, tmp_path):
    path = tmp_path / "future.onnx"
    path.write_bytes(small_model.read_bytes())
    describe(path, '{"format_version": 2}')
    with pytest.raises(ModelError, match="format 2"):
        OnnxEmbedder(path, "cpu")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_damaged_file_is_refused(small_model, tmp_path, keep):
    content = small_model.read_bytes()
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        OnnxEmbedder(path, "cpu")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.onnx", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            OnnxEmbedder(path, "cpu")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine may well have CUDA"
)
def test_cuda_is_refused_where_there_is_none(small_model):
    with pytest.raises(ProviderError, match=r"CPUExecutionProvider.*install unmingle\[gpu\]"):
        OnnxEmbedder(small_model, "cuda")
    assert OnnxEmbedder(small_model, "auto").provider == "CPUExecutionProvider"
