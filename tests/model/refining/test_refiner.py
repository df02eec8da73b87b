"""The refiner alone: torch and ONNX agree, nothing depends on order, and files that do not fit are refused."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unmingle.model.errors import ModelError
from unmingle.model.network.refiner import Refiner
from unmingle.model.refining.config import RefinerConfig
from unmingle.model.refining.refiner import OnnxRefiner

Array = NDArray[np.float32]


def segment(sources: int, frames: int, noisy: bool, seed: int = 0) -> tuple[Array, Array | None, Array, Array]:
    """Features, background, masks and centroids of a segment in which nothing is alike."""
    rng = np.random.default_rng(seed)
    features = rng.normal(-2.0, 2.0, (frames, 161)).astype(np.float32)
    behind = rng.uniform(0.02, 0.98, (frames, 161)).astype(np.float32) if noisy else None
    shares = rng.dirichlet(np.ones(sources), (frames, 161)).transpose(2, 0, 1)
    if behind is not None:
        shares = shares * (1.0 - behind)
    centroids = rng.normal(size=(sources, 6))
    centroids /= np.linalg.norm(centroids, axis=-1, keepdims=True)
    return features, behind, np.ascontiguousarray(shares, np.float32), centroids.astype(np.float32)


@pytest.mark.parametrize(("sources", "frames"), [(1, 4), (2, 13), (3, 100), (5, 31), (8, 8)])
@pytest.mark.parametrize("noisy", [False, True])
def test_torch_and_onnx_agree(
    lively_refiner: Refiner, onnx_refiner: OnnxRefiner, sources: int, frames: int, noisy: bool
) -> None:
    features, behind, shares, centroids = segment(sources, frames, noisy)
    found = onnx_refiner.refine(features, behind, shares, centroids)
    missing = -frames % 4
    padded = [
        np.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, missing), (0, 0)], mode="edge")
        for x in (features, np.zeros_like(features) if behind is None else behind, shares)
    ]
    with torch.no_grad():
        wanted = lively_refiner(*(torch.from_numpy(x)[None] for x in (*padded, centroids)))[0, :, :frames]
    # Weights are kept in half precision.
    np.testing.assert_allclose(found, wanted.numpy(), atol=0.02)
    assert found.shape == shares.shape
    total = found.sum(0) if behind is not None else np.ones(1)
    assert (found >= 0).all()
    assert (total <= 1.0 + 1e-5).all()
    if behind is None:
        np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-5)
    if sources > 1:
        assert np.abs(found - shares).max() > 0.1  # it does something, or all this says nothing


def test_an_untrained_refiner_changes_nothing(lively_refiner: Refiner) -> None:
    refiner = Refiner(lively_refiner.config, lively_refiner.listener.config).eval()
    features, behind, shares, centroids = segment(3, 20, noisy=True)
    with torch.no_grad():
        refined = refiner(*(torch.from_numpy(x)[None] for x in (features, behind, shares, centroids)))[0]
    np.testing.assert_allclose(refined.numpy(), shares, atol=1e-5)


def test_the_order_of_sources_does_not_matter(onnx_refiner: OnnxRefiner) -> None:
    features, behind, shares, centroids = segment(4, 40, noisy=True)
    order = [2, 0, 3, 1]
    refined = onnx_refiner.refine(features, behind, shares, centroids)
    permuted = onnx_refiner.refine(features, behind, shares[order], centroids[order])
    np.testing.assert_allclose(permuted, refined[order], atol=1e-5)


def test_a_single_source_without_background_is_left_alone(onnx_refiner: OnnxRefiner) -> None:
    features, _, shares, centroids = segment(1, 12, noisy=False)
    np.testing.assert_array_equal(onnx_refiner.refine(features, None, shares, centroids), shares)


def test_the_same_bytes_whatever_runs_beside_it(onnx_refiner: OnnxRefiner) -> None:
    alone = onnx_refiner.refine(*segment(2, 60, noisy=True))
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(onnx_refiner.refine, *segment(k, 36, noisy=True, seed=k)) for k in (1, 3, 4)]
        among_others = pool.submit(onnx_refiner.refine, *segment(2, 60, noisy=True)).result(timeout=120)
        assert all(np.isfinite(other.result(timeout=120)).all() for other in others)
    np.testing.assert_array_equal(among_others, alone)


def test_it_refuses_the_embeddings_of_another_model(onnx_refiner: OnnxRefiner) -> None:
    onnx_refiner.check_fits("0123456789ab")
    with pytest.raises(ModelError, match=r"belongs to the embedding model 0123456789ab, not to ba9876543210"):
        onnx_refiner.check_fits("ba9876543210")


def test_files_that_are_no_refiner_are_refused(tmp_path: Path, bundled_model: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        OnnxRefiner(tmp_path / "missing.onnx", "cpu", threads=1)
    with pytest.raises(ModelError, match="no refiner of Unmingle's"):
        OnnxRefiner(bundled_model, "cpu", threads=1)
    (tmp_path / "noise.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="not a usable ONNX model"):
        OnnxRefiner(tmp_path / "noise.onnx", "cpu", threads=1)


def test_a_damaged_file_is_refused(tmp_path: Path, refiner_file: Path) -> None:
    cut = tmp_path / "cut.onnx"
    shutil.copyfile(refiner_file, cut)
    cut.write_bytes(cut.read_bytes()[:-1000])
    with pytest.raises(ModelError):
        OnnxRefiner(cut, "cpu", threads=1)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"format_version": 99}', '{"format_version": 1, "bands": 0, "frames_per_step": 4, "embedding_dim": 6}'],
)
def test_configurations_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match="refiner"):
        RefinerConfig.from_json(text)
