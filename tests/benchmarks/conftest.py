"""What the tests of the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper.rows import SAMPLE_RATE
from unmingle.training.corpus import Corpus, find_recordings, load_corpus

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "examples" / "training"


@pytest.fixture(scope="session")
def speech() -> Corpus:
    """Four real speakers, a recording each, as the networks of the paper's table hear them."""
    found = find_recordings(TRAINING)
    first = {r.speaker: r for r in reversed(found)}
    return load_corpus([first[speaker] for speaker in sorted(first)[:4]], SAMPLE_RATE)
