"""What all tests share: the bundled model and the real recordings of examples/."""

from __future__ import annotations

import os
from pathlib import Path

# Several files are tested side by side: threads that wait for each other's cores would burn them meanwhile. Read when
# NumPy and torch are loaded, here and in what tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model as file_of

EXAMPLES = Path(__file__).parent.parent / "examples"


LONGEST = "test_on_ray.py"
"""A file that takes minutes, in which it mostly waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that none of them is begun when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in slow))


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    """An ONNX file that comes with the project: the one that takes the least of everybody's time."""
    return file_of()


@pytest.fixture(scope="session")
def separator(bundled_model: Path) -> Separator:
    """A bundled model, loaded once."""
    return Separator.load(bundled_model, device="cpu")


@pytest.fixture(scope="session")
def two_speakers() -> Path:
    """Five seconds of two people talking at once, 16 kHz mono FLAC."""
    return EXAMPLES / "two_speakers" / "mixture.flac"
