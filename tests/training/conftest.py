"""Real speech to train on, and the trainer as a process, the way its users start it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unmingle.training.corpus import Corpus, find_recordings, load_corpus
from unmingle.training.train import main

ROOT = Path(__file__).parents[2]
SAMPLE_RATE = 16_000

TINY = (
    "--hidden 16 --embedding-dim 6 --layers 2 --batch 4 --frames 40 --num-sources 0,1 --validation-mixtures 2 "
    "--device cpu --threads 1"
)
"""Options of a run whose steps take milliseconds."""


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory) -> Path:
    """A corpus of four real speakers, a folder with one recording each."""
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in sorted((ROOT / "examples" / "training").iterdir())[:4]:
        (folder / speaker.name).mkdir()
        recording = min(speaker.iterdir(), key=lambda file: file.name)
        (folder / speaker.name / recording.name).symlink_to(recording)
    return folder


@pytest.fixture(scope="session")
def speech(speech_folder) -> Corpus:
    """All four speakers of `speech_folder`, decoded."""
    return load_corpus(find_recordings(speech_folder), SAMPLE_RATE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Where the runs of this module's tests are; not there yet."""
    return tmp_path_factory.mktemp("training") / "runs"


@pytest.fixture(scope="module")
def start(runs) -> Callable[..., subprocess.Popen[str]]:
    """Start `python training/train.py` somewhere else than in the checkout."""

    def run(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "training" / "train.py"), "--runs", str(runs), *options],
            cwd=runs.parent,
            # No PYTHONPATH: a bare checkout has to do.
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONWARNINGS": "default"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def finish(start) -> Callable[..., tuple[int, str, str]]:
    """Run the trainer to its end: (exit code, standard output, standard error)."""

    def run(*options: str) -> tuple[int, str, str]:
        process = start(*options)
        out, err = process.communicate(timeout=900)
        return process.returncode, out, err

    return run


@pytest.fixture(scope="module")
def finish_here(runs) -> Callable[..., tuple[int, str, str]]:
    """As `finish`, within this process: torch is loaded once."""

    def run(*options: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--runs", str(runs), *options])
        return code, out.getvalue(), err.getvalue()

    return run


def history(run: Path) -> list[dict[str, float]]:
    """The records of a run."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    """The loss of every step, in order."""
    return [record["loss"] for record in history(run) if "loss" in record]
