"""Who is heard when is compared frame by frame, and the command measures it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import activity
from benchmarks.activity import FRAME_S, HEARD_DB, Found
from benchmarks.frames import frames_of, heard_frames
from unmingle.model.signal.activity import Stretch

RATE = 8_000


def test_a_source_is_heard_where_it_is_no_more_than_30_db_below_its_loud_moments():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    loud, quiet, faint = noise, 0.1 * noise, 0.01 * noise  # 20 and 40 dB below
    heard = heard_frames(np.concatenate((loud, quiet, faint))[None], RATE, FRAME_S, HEARD_DB)[0]
    assert heard.sum() * FRAME_S == pytest.approx(2.0, abs=0.05)
    assert not heard[-30:].any()
    assert not heard_frames(np.zeros((1, RATE), np.float32), RATE, FRAME_S, HEARD_DB).any()


def test_frames_are_within_stretches_by_their_middle():
    said = frames_of([Stretch(0.0, 0.064), Stretch(0.14, 0.2)], 6, FRAME_S)
    assert said.tolist() == [True, True, False, False, True, True]
    assert not frames_of([], 6, FRAME_S).any()


def test_precision_recall_and_f1():
    found = Found("FM", both=60, true=100, said=80)
    assert (found.precision, found.recall) == (0.75, 0.6)
    assert found.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert Found("FM", 0, 0, 0).f1 == 1.0


def test_the_command_measures_the_examples(tmp_path, capsys):
    out = tmp_path / "activity.json"
    assert activity.main(["--limit", "1", "--json", str(out)]) == 0
    (row, _) = json.loads(out.read_text())["tables"]["By kind of mixture"]
    assert row["mixtures"] == "all"
    assert row["number"] == 1
    assert row["f1"] > 0.8
    assert "| all | 1 |" in capsys.readouterr().out


def test_a_list_that_is_not_there_is_named(capsys):
    assert activity.main(["--list", "nowhere.csv"]) == 1
    assert "nowhere.csv" in capsys.readouterr().err
