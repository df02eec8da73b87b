"""`torchrun training/train.py`: several processes train one network, as one process would. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.conftest import ROOT, TINY, losses

pytestmark = pytest.mark.slow

STEPS = 6
STEP_OF_TWO = f"{TINY} --steps {STEPS} --accumulate 2 --validations 1"


@pytest.fixture(scope="module")
def torchrun(runs, speech_folder):
    """Start N processes of the trainer."""

    def start(processes, *options):
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)),
                *("--standalone", str(ROOT / "training" / "train.py")),
                *("--runs", str(runs), "--data", str(speech_folder), *options),
            ],
            cwd=runs.parent,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def process_of_rank(rank, launcher):
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    (found,) = [
        int(c) for c in children if f"RANK={rank}".encode() in Path(f"/proc/{c}/environ").read_bytes().split(b"\0")
    ]
    return found


def weights(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["network"]


@pytest.fixture(scope="module")
def by_two(torchrun, runs):
    process = torchrun(2, "--name", "two", *STEP_OF_TWO.split())
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    return runs / "two", out


def test_two_processes_learn_what_one_does_of_the_same_mixtures(by_two, finish, speech_folder, runs):
    code, _, err = finish("--data", str(speech_folder), "--name", "one", *STEP_OF_TWO.split())
    assert code == 0, err
    two, one = weights(by_two[0]), weights(runs / "one")
    assert all(torch.allclose(two[name], value, rtol=0, atol=1e-5) for name, value in one.items())
    assert losses(by_two[0]) == pytest.approx(losses(runs / "one"), abs=1e-5)
    assert len(losses(by_two[0])) == STEPS


def test_only_one_of_the_processes_speaks(by_two):
    _, out = by_two
    assert out.count("before the first step") == 1
    assert "in 2 processes" in out


def test_a_run_goes_on_with_another_number_of_processes(by_two, finish, runs):
    code, out, err = finish("--resume", "two", "--extend", "4")
    assert code == 0, err
    assert "after step 6" in out
    assert len(losses(runs / "two")) == 10


def test_a_number_of_processes_that_cannot_share_a_step_is_refused(torchrun, runs):
    process = torchrun(2, "--name", "odd", *TINY.split(), "--steps", "2", "--accumulate", "3")
    _, err = process.communicate(timeout=250)
    assert process.returncode != 0
    assert "3 batch(es), which 2 processes cannot share evenly" in err
    assert not (runs / "odd").exists()


def test_a_killed_process_does_not_lose_the_run(torchrun, start, runs):
    run = runs / "killed"
    process = torchrun(2, "--name", "killed", *TINY.split(), "--steps", "100000", "--validations", "1")
    deadline = time.monotonic() + 200
    while not (run / "history.jsonl").is_file() or len(losses(run)) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
    process.communicate(timeout=90)
    assert process.returncode != 0
    # What there was is there: the run goes on, here with one process.
    saved = torch.load(run / "checkpoint.pt", weights_only=True)["step"]
    # What the log has beyond, resuming forgets; without it, new steps can be told from old ones.
    kept = [line for line in (run / "history.jsonl").read_text().splitlines() if json.loads(line)["step"] <= saved]
    (run / "history.jsonl").write_text("".join(line + "\n" for line in kept))
    alone = start("--resume", "killed")
    while len(losses(run)) < saved + 2:
        assert alone.poll() is None, alone.communicate()[1]
        assert time.monotonic() < deadline + 100
        time.sleep(0.05)
    alone.send_signal(signal.SIGTERM)
    _, err = alone.communicate(timeout=90)
    assert alone.returncode == 128 + signal.SIGTERM, err
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] >= saved + 2
