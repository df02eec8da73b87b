"""Published weights for telling speakers apart become an ONNX file that computes what their authors' network does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from unmingle.model.diarisation.filter_bank import log_energies
from unmingle.model.diarisation.speaker_encoder import INPUT, OnnxSpeakerEncoder
from unmingle.training import import_speaker_encoder
from unmingle.training.onnx_graph import OPSET

RATE = 16_000


def rectified(channels: int) -> nn.Sequential:
    """Batch normalisation, and a rectifier."""
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers


class Residual(nn.Module):
    """Two convolutions over bands and time beside a way around them; the first may leave out every other band."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(32, 32, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 32, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.extend((nn.Conv2d(32, 32, 1, (stride, 1), bias=False), nn.BatchNorm2d(32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + self.shortcut(x))


class Head(nn.Module):
    """(1, band, time) -> (1, channel, time)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1 = nn.Sequential(Residual(2), Residual(1))
        self.layer2 = nn.Sequential(Residual(2), Residual(1))
        self.conv2 = nn.Conv2d(32, 32, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x[:, None])))))
        return functional.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class ContextMask(nn.Module):
    """A convolution over time, scaled by the means over all time and over a hundred frames around."""

    def __init__(self, apart: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(128, 32, 3, padding=apart, dilation=apart, bias=False)
        self.linear1 = nn.Conv1d(128, 64, 1)
        self.linear2 = nn.Conv1d(64, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = functional.avg_pool1d(x, 100, 100, ceil_mode=True).repeat_interleave(100, -1)[..., : x.shape[-1]]
        context = functional.relu(self.linear1(around + x.mean(-1, keepdim=True)))
        return self.linear_local(x) * self.linear2(context).sigmoid()


class Dense(nn.Module):
    """32 more channels."""

    def __init__(self, channels: int, apart: int) -> None:
        super().__init__()
        self.nonlinear1 = rectified(channels)
        self.linear1 = nn.Conv1d(channels, 128, 1, bias=False)
        self.nonlinear2 = rectified(128)
        self.cam_layer = ContextMask(apart)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return torch.cat((x, more), 1)


class Statistics(nn.Module):
    """Mean and deviation over time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x.mean(-1, keepdim=True), x.std(-1, keepdim=True)), 1)


class Reference(nn.Module):
    """The network of the paper, of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.xvector = nn.Sequential()
        tdnn, channels = nn.Sequential(), 128
        tdnn.add_module("linear", nn.Conv1d(320, channels, 5, 2, 2, bias=False))
        tdnn.add_module("nonlinear", rectified(channels))
        self.xvector.add_module("tdnn", tdnn)
        for number, (layers, apart) in enumerate(((12, 1), (24, 2), (16, 2)), 1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"tdnnd{layer + 1}", Dense(channels + 32 * layer, apart))
            channels += 32 * layers
            transit = nn.Sequential()
            transit.add_module("nonlinear", rectified(channels))
            transit.add_module("linear", nn.Conv1d(channels, channels // 2, 1, bias=False))
            channels //= 2
            self.xvector.add_module(f"block{number}", block)
            self.xvector.add_module(f"transit{number}", transit)
        self.xvector.add_module("out_nonlinear", rectified(channels))
        self.xvector.add_module("stats", Statistics())
        dense, last = nn.Sequential(), nn.Sequential()
        dense.add_module("linear", nn.Conv1d(2 * channels, 192, 1, bias=False))
        last.add_module("batchnorm", nn.BatchNorm1d(192, affine=False))
        dense.add_module("nonlinear", last)
        self.xvector.add_module("dense", dense)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.xvector(self.head(x.transpose(1, 2)))[..., 0]


def heard(frames: int) -> np.ndarray:
    """Log energies that are not the same all the time."""
    rng = np.random.default_rng(frames)
    slowly = np.cumsum(rng.standard_normal((1, frames, 80)), axis=1) / 5.0
    return (slowly + rng.standard_normal((1, frames, 80))).astype(np.float32)


def by_torch(reference: Reference, energies: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return reference(torch.from_numpy(energies)).numpy()


def by_onnx(model: onnx.ModelProto, energies: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: energies})[0]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """With weights and statistics that are drawn."""
    torch.manual_seed(0)
    made = Reference().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.05, 0.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.3)
    return made


@pytest.fixture(scope="module")
def model(reference) -> onnx.ModelProto:
    return import_speaker_encoder.network({n: tensor.numpy() for n, tensor in reference.state_dict().items()})


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of the angle between two vectors."""
    return float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("frames", [3, 30, 199, 200, 201, 400, 457])
def test_the_graph_computes_what_torch_does(reference, model, frames):
    """Means are taken over stretches of 200 frames, which the network hears as 100; the last one is shorter."""
    energies = heard(frames)
    expected = by_torch(reference, energies)
    assert expected.shape == (1, 192)
    np.testing.assert_allclose(by_onnx(model, energies), expected, atol=1e-4 * np.abs(expected).max())


def test_in_bytes_it_is_a_quarter_of_the_size_and_hardly_another(reference, model):
    before = model.SerializeToString(deterministic=True)
    stored = import_speaker_encoder.in_bytes(model)
    assert 0.25 < len(stored.SerializeToString()) / len(before) < 0.3
    assert model.SerializeToString(deterministic=True) == before
    vectors = [by_torch(reference, heard(frames)) for frames in (30, 201, 457)]
    for frames, expected in zip((30, 201, 457), vectors, strict=True):
        assert alike(by_onnx(stored, heard(frames)), expected) > 0.999
    assert alike(vectors[0], vectors[1]) < 0.97  # which is not because all are alike


@pytest.mark.parametrize("within", ["state_dict", None])
def test_the_command_writes_a_file_that_serves(reference, tmp_path, capsys, within):
    weights = reference.state_dict()
    torch.save({within: weights} if within else dict(weights), tmp_path / "weights.pt")
    target = tmp_path / "mine.onnx"
    assert import_speaker_encoder.main([str(tmp_path / "weights.pt"), "--name", "mine", "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: {target.stat().st_size / 1e6:.1f} MB\n"
    assert left(tmp_path) == ["mine.onnx"]
    written = onnx.load(target)
    assert written.opset_import[0].version == OPSET
    assert '"name": "mine"' in written.metadata_props[0].value
    samples = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    expected = by_torch(reference, log_energies(samples)[None])
    assert alike(OnnxSpeakerEncoder(target).vector(samples), expected) > 0.999


def left(folder: Path) -> list[str]:
    """What was written there as ONNX, whole or not."""
    return [file.name for file in folder.iterdir() if ".onnx" in file.name]


def test_other_files_are_refused_in_words(tmp_path, capsys):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "other.pt")
    torch.save({"xvector.dense.linear.weight": torch.zeros(512, 1024, 1)}, tmp_path / "longer.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for name, words in (
        ("missing.pt", "cannot be read (No such file"),
        ("junk.pt", "holds nothing but tensors. Take campplus_cn_en_common.pt"),
        ("other.pt", "holds no weights of CAM++ with 192 numbers"),
        ("longer.pt", "holds no weights of CAM++ with 192 numbers"),
        ("tensor.pt", "holds no weights of CAM++ with 192 numbers"),
    ):
        assert import_speaker_encoder.main([str(tmp_path / name), "-o", str(tmp_path / "x.onnx")]) == 1
        assert words in capsys.readouterr().err
        assert left(tmp_path) == []
