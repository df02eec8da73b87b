"""The ONNX Runtime that is installed: one of two, and not always the one that was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from unmingle.model.embedding.runtime_check import CUDA, check_installation, cuda_trouble
from unmingle.model.errors import ProviderError

ROOT = Path(__file__).parents[3]


def test_one_runtime_is_fine() -> None:
    check_installation()


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="the GPU build is installed")
def test_the_cpu_build_says_which_one_is_needed() -> None:
    assert "unmingle[gpu]" in (cuda_trouble() or "")


@pytest.mark.parametrize("command", ["separate", "serve"])
def test_both_builds_are_refused_with_what_to_do(tmp_path: Path, two_speakers: Path, command: str) -> None:
    # This is what pip leaves of the other build beside the one that is installed.
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.31.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.1\n")
    arguments = {"separate": [str(two_speakers), "-o", str(tmp_path / "stems")], "serve": ["--port", "0"]}[command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    environment["UNMINGLE_DATA_DIR"] = str(tmp_path / "data")
    call = [sys.executable, "-m", "unmingle", command, *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("unmingle: Both onnxruntime and onnxruntime-gpu are installed")
    assert "pip uninstall" in done.stderr
    assert not (tmp_path / "stems").exists()


def test_cuda_is_refused_in_words_where_there_is_none(bundled_model: Path) -> None:
    from unmingle.model.embedding.embedder import OnnxEmbedder

    if cuda_trouble() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(ProviderError, match=r"device=cuda was asked for, but .*device=cpu"):
        OnnxEmbedder(bundled_model, "cuda")


def test_onnx_runtime_leaves_no_identifier_of_this_machine(tmp_path: Path, two_speakers: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "unmingle", "separate", str(two_speakers), "-o", str(tmp_path / "stems")]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    assert [path.name for path in tmp_path.iterdir()] == ["stems"]
