"""The benchmarks of speed run, and count what they say they count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.limit import multiply_adds_per_s
from benchmarks.measuring import in_turn
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.embedding.on_device import Bound
from unmingle.model.embedding.onnx_session import open_session
from unmingle.model.embedding.runtime_check import cuda_trouble
from unmingle.model.network.trunk import make_network

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "service" / "small.onnx"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(layers=1, hidden=7, frames_per_step=1, embedding_dim=3),
        ModelConfig(trunk="dual_path", layers=3, hidden=7, channels=5, patch_bands=50),
    ],
)
def test_multiply_adds_are_the_weights_as_often_as_a_step_uses_them(config: ModelConfig) -> None:
    """Once; those of a dual-path network's layers, which all patches share, once for each of them."""
    patches = -(-config.bands // config.patch_bands)
    matrices = sum(
        p.numel() * (patches if name.startswith("across") else 1)
        for name, p in make_network(config).named_parameters()
        if "weight" in name and "norm" not in name
    )
    steps_per_s = config.sample_rate / config.hop / config.frames_per_step
    assert multiply_adds_per_s(config) == matrices * steps_per_s


def test_calls_take_turns_after_one_to_warm_up() -> None:
    order: list[str] = []
    found = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert {name: len(results) for name, results in found.items()} == {"a": 2, "b": 2}


def test_the_real_time_factor_is_measured_and_split(tmp_path: Path) -> None:
    out = tmp_path / "rtf.json"
    done = run("benchmarks.rtf", "--seconds", 1, "--rates", 44_100, "--rounds", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    ((row,),) = json.loads(out.read_text())["tables"].values()
    assert row["RTF"] > 0
    assert row["peak MiB"] > 50
    assert row["resample"] > 0
    assert row["embed"] + row["not the network"] == pytest.approx(100.0)


def test_a_server_is_measured_under_load(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    few = ("--clients", 2, "--requests", 4, "--seconds", 1, "--rounds", 1, "--long-seconds", 40)
    few += ("--model", SMALL)
    done = run("benchmarks.serve", *few, "--out", out)
    assert done.returncode == 0, done.stderr
    tables = json.loads(out.read_text())["tables"]
    (row,) = tables["Load, recordings of 1 s"]
    assert row["requests"] == 4
    assert 0 < row["p50 s"] <= row["p95 s"] <= row["p99 s"]
    assert row["segments per call"] >= 1


@pytest.mark.skipif(cuda_trouble() is None, reason="this machine has a GPU")
def test_without_a_gpu_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run("benchmarks.gpu", "--float32", tmp_path / "any.onnx")
    assert done.returncode == 2
    assert "nothing can be measured on a GPU here" in done.stderr


def as_on_a_gpu(path: Path, _device: str) -> OnnxEmbedder:
    """An embedder that leaves its embeddings on a device, which is the CPU."""
    embedder = OnnxEmbedder(path, "cpu", threads=1)
    embedder._run = Bound(open_session(path.read_bytes(), False, 2), "cpu", embedder.config.embedding_dim)
    return embedder


@pytest.fixture
def no_gpu_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Little to measure, on the CPU; where the figures go."""
    little = {"BATCHES": (1, 2), "RECORDING_S": 2.0, "AT_ONCE": {1: 1, 2: 1}, "SHAPES": 2}
    instead = {"OnnxEmbedder": as_on_a_gpu, "cuda_trouble": lambda: None, "smi": lambda what: f"no {what}"}
    for name, value in (little | instead | {"DEVICE": "cpu", "PROCESSES": 2, "THREADS_EACH": 1}).items():
        monkeypatch.setattr(gpu, name, value)
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--float32", str(SMALL), "--rounds=1", f"--out={out}"])
    return out


def test_what_is_measured_on_a_gpu(no_gpu_needed: Path) -> None:
    assert gpu.main() == 0
    tables = list(json.loads(no_gpu_needed.read_text())["tables"].values())
    assert [len(rows) for rows in tables] == [1, 4, 2, 4, 2, 1, 1]
    assert all(row["kind"] == "OnDevice" for row in tables[1])
    assert [row["recordings at once"] for row in tables[3]] == [1, 1, 2, 2]


def test_a_part_that_fails_ends_no_other(no_gpu_needed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "by_processes", lambda *_: {})
    monkeypatch.setattr(gpu, "mask_parity", lambda *_: 1 // 0)
    assert gpu.main() == 1
    tables = list(json.loads(no_gpu_needed.read_text())["tables"].values())
    assert [len(rows) for rows in tables] == [1, 0, 2, 4, 2, 1, 1]
