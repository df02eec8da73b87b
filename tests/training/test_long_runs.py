"""What happens to a run on its way: it starts from something, diverges, stops early, goes on, meets other data."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from tests.training.conftest import ROOT, TINY, history, losses
from unmingle.training.divergence import MOST_REWINDS, check_rewinds
from unmingle.training.errors import TrainingError
from unmingle.training.run_log import RunLog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(finish_here, speech_folder, runs):
    options = [*TINY.split(), "--steps", "6", "--validations", "2"]
    code, out, err = finish_here("--data", str(speech_folder), "--name", "first", *options)
    assert code == 0, err
    return out, err


def test_what_was_understood_and_what_the_model_is_worth_is_said(first):
    out, _ = first
    lines = out.splitlines()
    assert "is a folder per speaker" in lines[0]
    assert any(line.startswith("before the first step: SI-SDRi") for line in lines)
    assert "had no say in choosing" in out
    assert "publish.py" in out
    assert "--int8" in out


def test_a_fine_tune_that_gets_worse_gives_back_what_it_started_from(first, finish_here, speech_folder, runs):
    options = ["--init", "first", "--steps", "4", "--learning-rate", "3", "--warm-up", "0", "--validations", "2"]
    smaller = ["--batch", "4", "--frames", "40", "--num-sources", "0,1", "--validation-mixtures", "2", "--threads", "1"]
    code, _, err = finish_here("--data", str(speech_folder), "--name", "worse", *options, *smaller, "--device", "cpu")
    assert code == 0, err
    found = [r["si_sdr_improvement_db"] for r in history(runs / "worse") if "si_sdr_improvement_db" in r]
    before, after = (torch.load(runs / name / "best.pt", weights_only=True)["network"] for name in ("first", "worse"))
    same = all(torch.equal(weights, after[name]) for name, weights in before.items())
    assert same == (max(found[1:]) <= found[0])
    assert ("no validation was better than the weights that the run started from" in err) == same


def test_a_loss_that_stays_nan_is_gone_back_from_and_named(finish_here, speech_folder, runs):
    options = [*TINY.split(), "--steps", "60", "--learning-rate", "3e37", "--warm-up", "0"]
    _, _, err = finish_here("--data", str(speech_folder), "--name", "nan", *options)
    assert "the loss or its gradient stays NaN (step 2" in err
    assert "with a learning rate of 9e+36" in err
    lines = (runs / "nan" / "history.jsonl").read_text().splitlines()

    def refuse(constant):
        raise AssertionError(constant)

    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert any("rewound_from" in r for r in records)
    weights = torch.load(runs / "nan" / "checkpoint.pt", weights_only=True)["network"]
    assert all(torch.isfinite(w).all() for w in weights.values())


def test_a_run_that_went_back_too_often_gives_up_and_says_what_to_do():
    check_rewinds(MOST_REWINDS - 1, 7, 1e-3)
    with pytest.raises(TrainingError, match=r"stays NaN after step 7.*smaller --learning-rate"):
        check_rewinds(MOST_REWINDS, 7, 1e-3)


def test_history_has_null_for_what_is_no_number(tmp_path):
    log = RunLog(tmp_path)
    log.add({"step": 1, "loss": float("nan"), "gradient_norm": float("inf")})
    log.add({"step": 2, "loss": 1.0})
    assert log.recent_loss() == 1.0
    log.draw_curves()
    log.close()
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0]) == {
        "step": 1,
        "loss": None,
        "gradient_norm": None,
    }


def test_a_run_without_patience_ends_early(finish_here, speech_folder, runs):
    # Without a learning rate, nothing gets better.
    options = [*TINY.split(), "--steps", "40", "--validations", "20", "--patience", "2", "--learning-rate", "1e-12"]
    code, out, err = finish_here("--data", str(speech_folder), "--name", "early", *options)
    assert code == 0, err
    assert "the run ends here" in out
    assert len(losses(runs / "early")) < 20


def test_a_finished_run_is_made_longer(first, finish_here, speech_folder, runs):
    shutil.copytree(runs / "first", runs / "longer")
    before = losses(runs / "longer")
    code, _, err = finish_here("--resume", "longer", "--extend", "6")
    assert code == 0, err
    after = losses(runs / "longer")
    assert len(after) == 12
    assert after[:6] == before
    config = json.loads((runs / "longer" / "config.json").read_text())
    assert (config["steps"], config["validations"]) == (12, 4)
    code, _, err = finish_here("--extend", "6")
    assert code == 1
    assert "--extend goes with --resume" in err


def test_a_run_does_not_go_on_with_another_corpus(first, finish_here, speech_folder, runs, tmp_path):
    other, copy = tmp_path / "other", tmp_path / "copy"
    shutil.copytree(speech_folder, copy)
    shutil.copytree(speech_folder, other)
    speakers = sorted(other.iterdir())
    stranger = sorted((ROOT / "examples" / "training").iterdir())[6]
    shutil.rmtree(speakers[1])
    shutil.copytree(stranger, other / stranger.name)
    before = (runs / "first" / "checkpoint.pt").read_bytes()
    code, _, err = finish_here("--resume", "first", "--data", str(other))
    assert code == 1
    assert "learns from another corpus" in err
    assert (runs / "first" / "checkpoint.pt").read_bytes() == before
    code, _, err = finish_here("--resume", "first", "--data", str(copy))
    assert code == 0, err


def test_four_speakers_are_enough_by_default(finish_here, speech_folder, runs):
    options = [o for o in TINY.split() if o not in ("--num-sources", "0,1")]
    code, out, err = finish_here("--data", str(speech_folder), "--name", "four", *options, "--steps", "2")
    assert code == 0, err
    assert "at most 2 sources" in out


def test_a_list_of_ones_own_validates(finish_here, speech_folder, runs):
    options = [*TINY.split(), "--steps", "2", "--validation-list", str(ROOT / "examples" / "list.csv")]
    code, _, err = finish_here("--data", str(speech_folder), "--name", "listed", *options)
    assert code == 0, err
    assert np.isfinite(history(runs / "listed")[0]["si_sdr_improvement_2_db"])


def test_runs_that_cannot_be_written_end_in_one_line(finish_here, speech_folder, runs):
    blocked = runs.parent / "a-file"
    blocked.write_text("where a folder should be")
    code, _, err = finish_here("--runs", str(blocked), "--data", str(speech_folder), "--name", "x", *TINY.split())
    assert code == 1
    assert "cannot be written" in err
    assert "Traceback" not in err


def test_an_average_of_the_weights_is_kept_resumed_exactly_and_exported_if_better(finish_here, speech_folder, runs):
    options = [*TINY.split(), "--ema-decay", "0.5", "--validations", "4"]
    code, _, err = finish_here("--data", str(speech_folder), "--name", "whole-average", *options, "--steps", "8")
    assert code == 0, err
    whole = torch.load(runs / "whole-average" / "checkpoint.pt", weights_only=True)
    assert int(whole["average"]["n_averaged"]) == 8
    name = "head.weight"
    assert not torch.equal(whole["average"]["module." + name], whole["network"][name])
    records = [r for r in history(runs / "whole-average") if "average_si_sdr_improvement_db" in r]
    assert len(records) == 4
    best = max(max(r["si_sdr_improvement_db"], r["average_si_sdr_improvement_db"]) for r in records)
    assert whole["best_db"] == best
    # Nothing is left to do: a finished run that is resumed has the same average.
    code, _, err = finish_here("--resume", "whole-average")
    assert code == 0, err
    again = torch.load(runs / "whole-average" / "checkpoint.pt", weights_only=True)
    assert all(torch.equal(value, again["average"][key]) for key, value in whole["average"].items())


def test_a_run_is_shown_in_weights_and_biases(finish_here, speech_folder, runs, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'wandb>=0.19,<1'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [*TINY.split(), "--steps", "3", "--wandb", "separation"]
    code, _, err = finish_here("--data", str(speech_folder), "--name", "shown", *options)
    assert code == 0, err
    (shown,) = (runs / "shown" / "wandb").glob("offline-run-*")
    (written,) = shown.glob("*.wandb")
    content = written.read_bytes()
    for name in (b"gradient_norm", b"si_sdr_improvement_db", b"learning_rate", b"separation"):
        assert name in content
    assert list(shown.rglob("*.wav"))
    assert list(shown.rglob("*.png"))


def test_without_its_package_weights_and_biases_is_refused(finish_here, speech_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = [*TINY.split(), "--steps", "3", "--wandb", "separation"]
    code, _, err = finish_here("--data", str(speech_folder), "--name", "refused", *options)
    assert code == 1
    assert "pip install 'wandb" in err
