"""`python training/train.py` as its users meet it: a process, real speech, real signals."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
import soundfile
import torch

from tests.training.conftest import ROOT, TINY, history, losses
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.separator import Separator
from unmingle.training.train import main

pytestmark = pytest.mark.slow

STEPS = 40
REPEATABLE = f"{TINY} --steps {STEPS} --validations 3 --dropout 0.3 --speed-range 0.1 --ema-decay 0.9"


def wait_for_steps(run, process, steps):
    """Until the run has logged that many steps, or has ended."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "history.jsonl").is_file() and len(losses(run)) >= steps:
            return
        time.sleep(0.005)


@pytest.fixture(scope="module")
def uninterrupted(finish, speech_folder, runs):
    code, _, err = finish("--data", str(speech_folder), "--name", "whole", *REPEATABLE.split())
    assert code == 0, err
    return runs / "whole"


def test_a_run_leaves_a_model_that_separates_and_all_there_is_to_look_at(uninterrupted):
    assert {p.name for p in uninterrupted.iterdir()} == {
        *("config.json", "checkpoint.pt", "best.pt", "model.onnx", "history.jsonl", "curves.png", "tensorboard"),
        *("preview", "provenance.json"),
    }
    assert len(losses(uninterrupted)) == STEPS
    validated = [r["si_sdr_improvement_db"] for r in history(uninterrupted) if "si_sdr_improvement_db" in r]
    assert len(validated) == 4  # the first one before the first step
    assert history(uninterrupted)[0]["step"] == 0
    assert (uninterrupted / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [p for p in (uninterrupted / "tensorboard").iterdir() if "tfevents" in p.name and p.stat().st_size > 1000]
    embedder = OnnxEmbedder(uninterrupted / "model.onnx", "cpu")
    assert (embedder.config.name, embedder.config.hidden) == ("whole", 16)
    mixture, rate = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")
    stems = Separator(embedder).separate(mixture, rate).stems
    assert np.abs(stems.sum(0) - mixture).max() < 1e-5


def test_a_run_can_be_looked_at_and_listened_to(uninterrupted):
    mixture, rate = soundfile.read(uninterrupted / "preview" / "mixture.flac")
    stems = [soundfile.read(uninterrupted / "preview" / f"stem_{n}.flac")[0] for n in (1, 2)]
    assert rate == 16_000
    assert np.abs(sum(stems) - mixture).max() < 1e-3
    assert (uninterrupted / "preview" / "stems.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_says_with_what_it_was_made(uninterrupted):
    (record,) = json.loads((uninterrupted / "provenance.json").read_text())
    assert "--dropout 0.3" in record["command"]
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["corpus"]) == 64
    assert record["commit"] is None or len(record["commit"].removesuffix("+changes")) == 40


def test_a_dual_path_network_learns_and_separates_too(finish_here, speech_folder, runs):
    options = "--trunk dual_path --channels 12 --layers 2 --steps 60 --objective affinity+kmeans_mask"
    code, _, err = finish_here("--data", str(speech_folder), "--name", "dual", *TINY.split(), *options.split())
    assert code == 0, err
    found = losses(runs / "dual")
    assert np.mean(found[-10:]) < np.mean(found[:10])
    embedder = OnnxEmbedder(runs / "dual" / "model.onnx", "cpu")
    assert embedder.config.trunk == "dual_path"
    mixture, rate = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")
    stems = Separator(embedder).separate(mixture, rate).stems
    assert np.abs(stems.sum(0) - mixture).max() < 1e-5


def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(uninterrupted, start, finish, speech_folder, runs):
    run = runs / "parts"
    begin = ("--data", str(speech_folder), "--name", run.name, *REPEATABLE.split())
    for step, wish in ((4, signal.SIGINT), (8, signal.SIGTERM), (12, signal.SIGKILL)):
        process = start(*begin)
        wait_for_steps(run, process, step)
        os.kill(process.pid, wish)
        out, err = process.communicate(timeout=900)
        assert step <= len(losses(run)) < STEPS
        killed = wish == signal.SIGKILL
        assert process.returncode == (-wish if killed else 128 + wish), err
        assert (f"--resume {run.name}" in out) == (not killed)
        assert killed or OnnxEmbedder(run / "model.onnx", "cpu").config.name == run.name
        begin = ("--resume", run.name)
    code, _, err = finish(*begin)
    assert code == 0, err
    assert losses(run) == losses(uninterrupted)
    whole, parts = (torch.load(r / "checkpoint.pt", weights_only=True) for r in (uninterrupted, run))
    assert all(torch.equal(weights, parts["network"][name]) for name, weights in whole["network"].items())
    assert all(torch.equal(weights, parts["average"][name]) for name, weights in whole["average"].items())
    assert (whole["best_db"], whole["gradient_norms"]) == (parts["best_db"], parts["gradient_norms"])


def test_a_second_stage_starts_from_the_weights_of_the_first(uninterrupted, finish_here, speech_folder, runs):
    # With next to no learning rate, what the second stage starts from is what it ends with.
    second_stage = "--init whole --name second --steps 2 --learning-rate 1e-9 --objective whitened_kmeans+2*attractor"
    smaller = "--batch 2 --frames 80 --num-sources 0,1 --threads 1 --validations 1 --validation-mixtures 2"
    code, _, err = finish_here("--data", str(speech_folder), *second_stage.split(), *smaller.split())
    assert code == 0, err
    first = torch.load(uninterrupted / "best.pt", weights_only=True)["network"]
    second = torch.load(runs / "second" / "best.pt", weights_only=True)["network"]
    assert all(torch.allclose(weights, second[name], atol=1e-6) for name, weights in first.items())
    assert OnnxEmbedder(runs / "second" / "model.onnx", "cpu").config.name == "second"


def test_a_run_can_end_by_time_and_gets_a_name(finish_here, speech_folder, runs):
    code, out, err = finish_here("--data", str(speech_folder), "--minutes", "0.05", *TINY.split(), "--validations", "1")
    assert code == 0, err
    assert "model.onnx: SI-SDRi" in out
    assert history(runs / "run-1")[-1]["step"] > 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--data", "nowhere"), "There is no corpus folder nowhere: expected a metadata.csv"),
        (("--resume", "nothing"), "There is no run to go on with"),
        (("--init", "nothing"), "There is no checkpoint nothing: expected a run in"),
        (("--name", "../up"), "cannot name a folder"),
        (("--batch", "0"), "batch must be at least 1"),
        (("--precision", "float16", "--device", "cpu"), "--precision float16 is for GPUs"),
    ],
)
def test_mistakes_end_in_one_clear_line(options, complaint, tmp_path, capsys):
    assert main(["--runs", str(tmp_path / "runs"), *options]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert complaint in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_runs_are_never_overwritten_nor_changed_on_the_way(uninterrupted, runs, capsys):
    before = (uninterrupted / "checkpoint.pt").read_bytes()
    assert main(["--runs", str(runs), "--name", "whole", *TINY.split()]) == 1
    assert "There is a run" in capsys.readouterr().err
    assert main(["--runs", str(runs), "--resume", "whole", "--hidden", "32"]) == 1
    assert "--hidden is 32, was 16" in capsys.readouterr().err
    assert (uninterrupted / "checkpoint.pt").read_bytes() == before
