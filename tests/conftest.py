"""What all tests share: the bundled model and the real recordings of examples/."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.embedder import BUNDLED_MODEL
from model.separator import Separator

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    """The ONNX file that comes with the project."""
    return BUNDLED_MODEL


@pytest.fixture(scope="session")
def separator(bundled_model: Path) -> Separator:
    """The bundled model, loaded once."""
    return Separator.load(bundled_model, device="cpu")


@pytest.fixture(scope="session")
def two_speakers() -> Path:
    """Five seconds of two people talking at once, 16 kHz mono FLAC."""
    return EXAMPLES / "two_speakers" / "mixture.flac"
