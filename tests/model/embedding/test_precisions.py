"""Models in 8 and 16 bits embed as the whole one does, and in 8 bits it does not matter what runs beside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch

from tests.model.conftest import lively_network
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import PRECISION_KEY, OnnxEmbedder
from unmingle.model.embedding.on_device import Bound
from unmingle.model.embedding.onnx_session import GPU_FRAMES_AT_ONCE, INPUT, OUTPUT, cuda_options
from unmingle.model.network.anchored import anchored
from unmingle.model.network.export import describe, export, export_float16, export_int8

pytestmark = pytest.mark.slow

CONFIG = ModelConfig(name="precise", layers=2, hidden=48, embedding_dim=8)
DUAL_PATH = ModelConfig(
    name="precise", trunk="dual_path", layers=2, hidden=48, frames_per_step=4, patch_bands=8, embedding_dim=8
)


@pytest.fixture(scope="module", params=[CONFIG, DUAL_PATH], ids=lambda config: config.trunk)
def network(request):
    """With weights so large that its cells saturate."""
    return lively_network(request.param, seed=5, larger=2.0, mean=-2.0, deviation=1.5)


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """Of one kind of network after the other."""
    folder = tmp_path_factory.mktemp("precisions")
    for name, write in (("float32", export), ("int8", export_int8), ("float16", export_float16)):
        write(network, folder / f"{name}.onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["float16.onnx", "float32.onnx", "int8.onnx"]
    return folder


def loud_and_soft(frames=100):
    """Segments as unlike as can be: speech-like, silence, beyond every range, and noise."""
    rng = np.random.default_rng(0)
    speech = rng.normal(-2.0, 1.5, (frames, CONFIG.bands))
    return np.stack(
        (
            speech,
            np.full_like(speech, -6.9),
            speech * 40.0,
            rng.uniform(-6.9, 6.0, speech.shape),
            np.where(np.arange(frames)[:, None] == frames // 2, 7.0, -6.9) + np.zeros(CONFIG.bands),
        )
    ).astype(np.float32)


def test_anchors_change_nothing_in_float32(network):
    heard = torch.from_numpy(np.random.default_rng(1).normal(-2.0, 1.5, (3, 60, CONFIG.bands)).astype(np.float32))
    with torch.no_grad():
        assert (anchored(network)(heard) - network(heard)).abs().max() < 1e-5


@pytest.mark.parametrize("threads", [1, 2])
def test_in_8_bits_neighbours_change_nothing_bit_for_bit(files, threads):
    embedder = OnnxEmbedder(files / "int8.onnx", "cpu", threads)
    heard = loud_and_soft()
    alone = [embedder.embed(segment[None])[0] for segment in heard]
    for together in ([0, 1], [1, 0], [2, 0], [4, 1, 0], [0, 1, 2, 3, 4], [0, 0, 0, 3, 3, 2, 1, 4, 0]):
        for index, found in zip(together, embedder.embed(heard[together]), strict=True):
            assert found.tobytes() == alone[index].tobytes()


def test_in_8_bits_it_does_not_matter_which_cores_a_segment_has(files):
    """A core each in one call, a core each in calls of several threads, or all cores for one: the same bytes."""
    embedder = OnnxEmbedder(files / "int8.onnx", "cpu", 3)
    heard = loud_and_soft(400)
    expected = [embedder.embed(segment[None])[0].tobytes() for segment in heard]
    assert [found.tobytes() for found in embedder.embed(heard)] == expected
    with ThreadPoolExecutor(len(heard)) as pool:
        calls = [pool.submit(embedder.embed, heard[[i, i - 1]]) for i in [*range(len(heard))] * 4]
        assert [call.result()[0].tobytes() for call in calls] == expected * 4


@pytest.mark.parametrize("precision,worst,mean", [("int8", 0.95, 0.998), ("float16", 0.999, 0.99999)])
def test_embeddings_are_those_of_the_whole_network(files, precision, worst, mean):
    heard = loud_and_soft()[[0, 1, 3]]
    whole, short = (OnnxEmbedder(files / f"{name}.onnx", "cpu").embed(heard) for name in ("float32", precision))
    cosine = (whole * short).sum(-1)
    assert cosine.min() > worst
    assert cosine.mean() > mean


def test_the_file_says_its_precision_and_keeps_it(files, tmp_path):
    def said(path):
        return onnxruntime.InferenceSession(path.read_bytes()).get_modelmeta().custom_metadata_map[PRECISION_KEY]

    assert said(files / "float32.onnx") == "float32"
    path = tmp_path / "described.onnx"
    path.write_bytes((files / "int8.onnx").read_bytes())
    describe(path, CONFIG.to_json())
    assert said(path) == "int8"


@pytest.mark.parametrize("segments", [1, 2, 3, 5, GPU_FRAMES_AT_ONCE // 100 + 3])
def test_bound_to_a_device_it_embeds_the_same(files, segments):
    session = onnxruntime.InferenceSession((files / "float32.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    heard = np.resize(loud_and_soft(100), (segments, 100, CONFIG.bands))
    found = Bound(session, "cpu", CONFIG.embedding_dim)(heard)
    expected = session.run([OUTPUT], {INPUT: heard})[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


def test_a_gpu_gets_a_limit():
    assert cuda_options(123)["gpu_mem_limit"] == "123"
