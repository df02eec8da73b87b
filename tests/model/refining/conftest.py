"""A refiner that is small, untrained, and yet does something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.network.export_refiner import export_refiner
from unmingle.model.network.refiner import Refiner
from unmingle.model.refining.config import RefinerConfig
from unmingle.model.refining.refiner import OnnxRefiner

LISTENER = ModelConfig(
    trunk="dual_path", layers=1, hidden=8, channels=8, embedding_dim=5, frames_per_step=4, patch_bands=10
)
EMBEDDING_DIM = 6
TRUNK = "0123456789ab"


@pytest.fixture(scope="session")
def lively_refiner() -> Refiner:
    """It changes masks by much, by what it hears and by its random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        refiner = Refiner(RefinerConfig(LISTENER.bands, 4, EMBEDDING_DIM), LISTENER).eval()
        for parameter in refiner.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return refiner


@pytest.fixture(scope="session")
def refiner_file(lively_refiner: Refiner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lively_refiner` as an ONNX file, for a trunk of hash TRUNK."""
    path = tmp_path_factory.mktemp("refiner") / "refiner.onnx"
    export_refiner(lively_refiner, path, [TRUNK])
    return path


@pytest.fixture(scope="session")
def onnx_refiner(refiner_file: Path) -> OnnxRefiner:
    """`refiner_file` in a session on one thread."""
    return OnnxRefiner(refiner_file, "cpu", threads=1)
