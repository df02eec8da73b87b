"""The command that makes the paper's table, on the examples with a budget of a single step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from benchmarks.paper import seeds
from tests.benchmarks.conftest import ROOT, TRAINING

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "benchmarks.paper.run", "--data", str(TRAINING)]
COMMAND += ["--lists", str(ROOT / "examples")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(folder, *options):
    return subprocess.run(
        [*COMMAND, "--out", str(folder / "out"), *options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder in which some rows are done, and what was printed."""
    folder = tmp_path_factory.mktemp("paper")
    finished = run(folder, "--hours", "0.003", "--rows", "dc-20,pit,dc-20-masks,then-whitened,cuts-embeddings,ideal")
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


def test_every_row_is_trained_for_its_budget_and_tested_by_both_ways_of_clustering(done):
    folder, _ = done
    rows = json.loads((folder / "out" / "results.json").read_text())["rows"]
    assert list(rows) == ["dc-20", "pit", "dc-20-masks", "then-whitened", "cuts-embeddings", "ideal"]
    for name in ("dc-20", "pit", "dc-20-masks", "then-whitened"):
        assert rows[name]["hours_heard"] == pytest.approx(0.0036, abs=1e-4)  # one step of 8 mixtures of 1.6 s
        assert rows[name]["corpus"] == "0.20 hours of 13 speakers"
    for name in ("dc-20", "pit", "dc-20-masks", "then-whitened", "cuts-embeddings"):
        for way in ("global", "local"):
            figures = rows[name]["lists"]["test_2mix"][way]
            assert figures["all"] == pytest.approx((figures["same"] + figures["different"]) / 2)
            assert figures["all"] < 3.0  # nothing was learned
    assert rows["dc-20"]["lists"]["test_3mix"]["mixtures"] == 1
    assert "test_3mix" not in rows["pit"]["lists"]  # it has two outputs
    assert rows["ideal"]["lists"]["test_2mix"]["global"]["all"] == pytest.approx(13.4, abs=0.3)


def test_the_table_names_its_rows_its_machine_and_its_command(done):
    folder, printed = done
    table = (folder / "out" / "table.md").read_text()
    assert table in printed
    for text in ("deep clustering, D = 20", "masks, permutation-invariant", "--hours 0.003", "cores", "torch"):
        assert text in table


def test_rows_that_are_done_are_not_done_again(done):
    folder, printed = done
    before = (folder / "out" / "dc-20" / "checkpoint.pt").stat().st_mtime_ns
    again = run(folder, "--hours", "0.003", "--rows", "dc-20,ideal")
    assert again.returncode == 0, again.stderr
    assert again.stdout == printed
    assert (folder / "out" / "dc-20" / "checkpoint.pt").stat().st_mtime_ns == before


def test_seeds_are_put_together_and_other_differences_are_refused(done, tmp_path, capsys):
    folder, _ = done
    first = folder / "out"
    shutil.copytree(first, tmp_path / "second", ignore=shutil.ignore_patterns("*.pt"))
    settings = json.loads((first / "settings.json").read_text())
    (tmp_path / "second" / "settings.json").write_text(json.dumps({**settings, "seed": "1"}))
    result = json.loads((first / "dc-20" / "result.json").read_text())
    figures = result["lists"]["test_2mix"]["global"]
    mean = figures["all"]
    figures["all"] += 2.0
    (tmp_path / "second" / "dc-20" / "result.json").write_text(json.dumps(result))
    assert seeds.main([str(first), str(tmp_path / "second")]) == 0
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "test_2mix | deep clustering, D = 20 |" in text]
    assert f"| {mean + 1.0:.1f} +- 1.0 |" in line
    assert seeds.main([str(first), str(first)]) == 1
    assert "different seeds" in capsys.readouterr().err
    (tmp_path / "second" / "settings.json").write_text(json.dumps({**settings, "seed": "1", "hours": "9.0"}))
    assert seeds.main([str(first), str(tmp_path / "second")]) == 1
    assert seeds.main([str(tmp_path)]) == 1
    assert "settings.json" in capsys.readouterr().err


def test_a_folder_holds_rows_of_one_budget_only(done):
    folder, _ = done
    refused = run(folder, "--hours", "1")
    assert refused.returncode == 1
    assert "hours 0.003 (now 1.0)" in refused.stderr
    assert "--out" in refused.stderr


def test_cuts_of_embeddings_need_the_network_of_the_embeddings(tmp_path):
    refused = run(tmp_path, "--hours", "0.003", "--rows", "cuts-embeddings")
    assert refused.returncode == 1
    assert "dc-20" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_ctrl_c_saves_the_row_that_is_being_trained(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "--out", str(tmp_path / "out"), "--hours", "100", "--rows", "dc-5"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = ""
    while "dc-5:" not in seen:  # the bar of the first step
        more = process.stderr.read(1)
        assert more, seen
        seen += more
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "the same command goes on" in rest
    assert (tmp_path / "out" / "dc-5" / "checkpoint.pt").is_file()
    assert not (tmp_path / "out" / "dc-5" / "result.json").exists()
