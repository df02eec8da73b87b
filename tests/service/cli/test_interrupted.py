"""Ctrl-C in the middle of a long recording leaves nothing half-written behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.harness import ROOT

pytestmark = pytest.mark.slow


def test_interrupting_leaves_what_is_whole_and_nothing_else(tmp_path: Path, two_speakers: Path) -> None:
    samples, rate = soundfile.read(two_speakers, dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.tile(samples, 60), rate, subtype="PCM_16")
    output = tmp_path / "out"
    # A shell that runs the tests in the background has them ignore Ctrl-C, which processes inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "unmingle", "separate", *map(str, (two_speakers, "long.wav", "-o", output))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    give_up = time.monotonic() + 220
    while not (whole(output) and any(path.stat().st_size for path in output.glob(".unmingle-*/new/source_0"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        # It stands still while we look, so that a busy machine cannot let it end between the look and the signal.
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in said
    assert "Traceback" not in said
    assert [path.name for path in output.iterdir()] == [two_speakers.stem]
    assert whole(output)


def whole(output: Path) -> bool:
    """Whether the first file's stems are all there."""
    return (output / "mixture" / "manifest.json").is_file()
