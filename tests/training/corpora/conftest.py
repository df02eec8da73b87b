"""Real speech for small trees, and prepare.py as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from tests.training.corpora.trees import EXAMPLES, RATE, ROOT


@pytest.fixture(scope="session")
def voices() -> np.ndarray:
    """(2, samples) of two people, 1.5 s at 16 kHz."""
    files = [EXAMPLES / "two_speakers" / f"source_{i}.flac" for i in (1, 2)]
    return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])[:, : 3 * RATE // 2]


@pytest.fixture(scope="session")
def prepare() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run training/prepare.py as a process of its own, where warnings are errors and torch is not there."""
    code = (
        "import sys, runpy; sys.modules['torch'] = None; "
        f"sys.argv = ['prepare.py', *sys.argv[1:]]; runpy.run_path({str(ROOT / 'training' / 'prepare.py')!r}, "
        "run_name='__main__')"
    )

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)

    return run
