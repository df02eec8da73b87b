"""What several rooms of the tests use: the real recordings of examples/."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclasses.dataclass(frozen=True)
class Example:
    """A mixture of real speech with its true sources.

    Attributes:
        mixture: (samples,) float32.
        sources: (sources, samples) float32.
        path: the mixture's file.
    """

    mixture: NDArray[np.float32]
    sources: NDArray[np.float32]
    sample_rate: int
    path: Path


@pytest.fixture(scope="session")
def example() -> Callable[[str], Example]:
    """Reads one of the bundled mixtures by the name of its folder."""

    def read(name: str) -> Example:
        folder = EXAMPLES / name
        mixture, sample_rate = soundfile.read(folder / "mixture.flac", dtype="float32")
        files = sorted(folder.glob("source_*.flac"))
        sources = np.stack([soundfile.read(f, dtype="float32")[0] for f in files])
        return Example(mixture, sources, sample_rate, folder / "mixture.flac")

    return read
