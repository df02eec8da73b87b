"""Embeddings that stay on a device give what embeddings on the host give. The device here is the CPU."""

from __future__ import annotations

import gc

import numpy as np
import onnxruntime
import pytest

from unmingle.model.embedding.device_graphs import FOLDER
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.embedder import pad_frames
from unmingle.model.embedding.on_device import Bound
from unmingle.model.embedding.onnx_session import GPU_MEMORY_BYTES
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator
from unmingle.service.scheduling.micro_batch import MicroBatcher
from unmingle.training.write_graphs import write


class BoundEmbedder:
    """What OnnxEmbedder is on a GPU, on a CPU."""

    segments_at_once = 2

    def __init__(self, path, config, memory_bytes=GPU_MEMORY_BYTES):
        self.config = config
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        self.bound = Bound(session, "cpu", config.embedding_dim, memory_bytes)
        self.calls = 0

    def embed(self, features):
        return self.bound(pad_frames(features, self.config))[:, : features.shape[1]]

    def embed_each(self, features):
        self.calls += 1
        return [embedded.first(features.shape[1]) for embedded in self.bound.each(pad_frames(features, self.config))]


@pytest.fixture
def bound(small_model, small_network):
    return BoundEmbedder(small_model, small_network.config)


def some_features(segments, frames, bands):
    return np.random.default_rng(0).normal(-2.0, 2.0, (segments, frames, bands)).astype(np.float32)


@pytest.fixture
def both(bound):
    """The third of three segments with an odd number of frames, on the device and on the host."""
    heard = some_features(3, 101, bound.config.bands)
    return bound.embed_each(heard)[2], OnHost(bound.embed(heard)[2])


def some_centroids(num_sources, dim):
    centroids = np.random.default_rng(1).standard_normal((num_sources, dim)).astype(np.float32)
    return centroids / np.linalg.norm(centroids, axis=-1, keepdims=True)


def test_all_of_them_are_the_hosts(both):
    there, here = both
    np.testing.assert_array_equal(there.array(), here.array())
    assert there.nbytes == here.nbytes


def test_chosen_ones_are_the_hosts(both):
    there, here = both
    frames, bands, dim = here.vectors.shape
    for chosen in ([0], [5, 5, 7], range(0, frames * bands, 3), [frames * bands - 1]):
        np.testing.assert_array_equal(there.at(np.array(chosen)), here.at(np.array(chosen)))
    assert there.at(np.zeros(0, np.int64)).shape == (0, dim)


@pytest.mark.parametrize("num_sources", [1, 2, 5])
def test_masks_are_the_hosts(both, num_sources):
    there, here = both
    centroids = some_centroids(num_sources, here.vectors.shape[-1])
    np.testing.assert_allclose(there.soft_masks(centroids, 5.0), here.soft_masks(centroids, 5.0), atol=1e-6)
    np.testing.assert_array_equal(there.hard_masks(centroids), here.hard_masks(centroids))


@pytest.mark.parametrize("frames", [7, 48, 101, 500])
def test_scores_of_blocks_are_the_hosts(both, frames):
    there, here = both
    length, bands, dim = here.vectors.shape
    weights = np.random.default_rng(2).standard_normal((bands * dim, 2)).astype(np.float32)
    found = here.block_scores(weights, frames)
    np.testing.assert_allclose(there.block_scores(weights, frames), found, atol=1e-4)
    assert found.shape == (max(1, length // frames), 2)
    first = here.vectors[: min(frames, length)].mean(0).ravel()
    np.testing.assert_allclose(found[0], first @ weights, atol=1e-4)


def test_without_centroids_all_sources_share_alike(both):
    there, here = both
    nothing = np.zeros((4, here.vectors.shape[-1]), np.float32)
    for shares in (there.soft_masks(nothing, 5.0), there.hard_masks(nothing)):
        np.testing.assert_allclose(shares, np.full((4, *here.vectors.shape[:2]), 0.25))


@pytest.mark.parametrize("mask_kind", ["soft", "hard"])
def test_a_separation_is_the_hosts(bound, small_embedder, example, mask_kind):
    mixture = np.resize(example("two_speakers").mixture, 16_000 * 25)
    here, there = (
        Separator(e).separate(mixture, 16_000, 2, options=SeparationOptions(mask_kind=mask_kind))
        for e in (small_embedder, bound)
    )
    np.testing.assert_allclose(there.stems, here.stems, atol=1e-5)
    assert bound.calls == 2  # a pair of segments, and the last, longer one: nothing twice


def test_through_a_batcher_it_is_the_same(bound, example):
    mixture = np.resize(example("two_speakers").mixture, 16_000 * 25)
    direct, batched = (Separator(e).separate(mixture, 16_000, 2).stems for e in (bound, MicroBatcher(bound)))
    np.testing.assert_allclose(batched, direct, atol=1e-5)
    heard = some_features(3, 50, bound.config.bands)
    np.testing.assert_allclose(MicroBatcher(bound).embed(heard), bound.embed(heard), atol=1e-6)


@pytest.mark.parametrize(("one_bytes", "all_bytes"), [(10**6, GPU_MEMORY_BYTES), (10**9, 10**6)])
def test_what_has_no_room_is_embedded_again(bound, small_model, example, monkeypatch, one_bytes, all_bytes):
    mixture = np.resize(example("two_speakers").mixture, 16_000 * 25)
    expected = Separator(bound).separate(mixture, 16_000, 2).stems
    monkeypatch.setattr("unmingle.model.embedding.on_device.DEVICE_KEPT_BYTES", one_bytes)
    without_room = BoundEmbedder(small_model, bound.config, all_bytes)
    np.testing.assert_array_equal(Separator(without_room).separate(mixture, 16_000, 2).stems, expected)
    assert without_room.calls == 2 * bound.calls


def test_room_is_free_again_when_a_batch_is_gone(small_model, small_network):
    config = small_network.config
    heard = some_features(2, 50, config.bands)
    batch_bytes = 4 * heard.size * config.embedding_dim
    bound = BoundEmbedder(small_model, config, 4 * batch_bytes)
    first, other = bound.embed_each(heard), bound.embed_each(heard)
    assert all(embedded.keep(0.0) for embedded in first)
    assert other[0].keep(0.0) is None
    del first
    gc.collect()
    assert other[0].keep(0.0) is other[0]


def test_the_graphs_are_those_that_are_written(tmp_path):
    write(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in FOLDER.glob("*.onnx")
    }
