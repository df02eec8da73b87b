"""Published test sets are read as they are: two and three speakers, min and max, 8 and 16 kHz, noise and rooms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from tests.training.corpora.trees import EXAMPLES, LIBRIMIX, RATE, WSJ0, a_tree
from unmingle.training.evaluate import main
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import load_mixture
from unmingle.training.evaluation.published_sets import read_published_set

WSJ0_NAMES = [f"{a}_1.2_{b}_-1.2" for a, b in WSJ0]


@pytest.fixture(scope="module")
def voices():
    """(2, samples) of two people, 1.5 s at 16 kHz."""
    files = [EXAMPLES / "two_speakers" / f"source_{i}.flac" for i in (1, 2)]
    return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])[:, : 3 * RATE // 2]


@pytest.mark.parametrize("count", [2, 3])
def test_a_librimix_tree_is_evaluated_in_place_of_a_list(tmp_path, voices, bundled_model, count):
    names = ["_".join([*pair, "26-495-0001"][:count]) for pair in LIBRIMIX]
    a_tree(tmp_path / f"Libri{count}Mix" / "wav8k" / "min" / "test", names, voices, 8000, ("mix_clean", "mix_both"))
    out = tmp_path / "out"
    arguments = ["--list", tmp_path, "--mixtures", "mix_both", "--limit", 2, "--jobs", 1, "--out", out]
    assert main([*map(str, arguments), "--model", str(bundled_model)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["subject"]["mixtures"] == 2
    assert "mix_both of 'test'" in report["subject"]["list"]
    assert "wav8k/min" in report["subject"]["list"]
    rows = {row["by"]: row for row in report["separation"] if row["sources"] == "all"}
    assert rows["ideal"]["si_sdr_db_improvement"]["mean"] > 5.0
    if count == 2:
        assert rows["soft"]["si_sdr_db_improvement"]["mean"] > 3.0


def test_mixture_and_references_are_those_of_the_files(tmp_path, voices):
    a_tree(tmp_path / "tt", WSJ0_NAMES, voices, 8000, ("mix_clean", "mix_both", "mix_single"))
    read = {kind: read_published_set(tmp_path, "test", kind) for kind in (None, "mix_both", "mix_single")}
    assert [listed.id for listed in read[None].mixtures] == sorted(WSJ0_NAMES)
    for kind, found in read.items():
        mixture, sources, rate = load_mixture(found.mixtures[0])
        own, _ = soundfile.read(
            tmp_path / "tt" / (kind or "mix_clean") / f"{found.mixtures[0].id}.wav", dtype="float32"
        )
        assert rate == 8000
        assert np.array_equal(mixture, own)
        assert len(sources) == (1 if kind == "mix_single" else 2)
        left = np.abs(mixture - sources.sum(0)).max()
        assert left < 1e-3 if kind is None else left > 5e-3
        assert [part.speaker for part in found.mixtures[0].parts] == ["011", "20l"][: len(sources)]


def test_rooms_belong_to_their_voices(tmp_path, voices):
    for room in ("_anechoic", "_reverb"):
        a_tree(tmp_path / "tt", WSJ0_NAMES, voices, 8000, (f"mix_clean{room}",), room)
    for room in ("anechoic", "reverb"):
        found = read_published_set(tmp_path, "test", f"mix_clean_{room}")
        assert [part.path.parent.name for part in found.mixtures[0].parts] == [f"s1_{room}", f"s2_{room}"]


def test_min_and_max_are_told_apart_and_what_is_missing_is_named(tmp_path, voices):
    for length in ("min", "max"):
        a_tree(tmp_path / "wav8k" / length / "tt", WSJ0_NAMES, voices, 8000, ("mix",))
    with pytest.raises(EvaluationError, match=r"several sets for 'test': wav8k/max/tt, wav8k/min/tt\. Name one"):
        read_published_set(tmp_path, "test")
    found = read_published_set(tmp_path / "wav8k" / "max", "test", limit=2)
    assert len(found.mixtures) == 2
    with pytest.raises(EvaluationError, match=r"no mixtures for 'valid': it has tt"):
        read_published_set(tmp_path, "valid")
    with pytest.raises(EvaluationError, match=r"no mix_both; name one of mix with --mixtures"):
        read_published_set(tmp_path / "wav8k" / "min", "test", "mix_both")
    (tmp_path / "wav8k" / "min" / "tt" / "s2" / f"{WSJ0_NAMES[1]}.wav").unlink()
    with pytest.raises(EvaluationError, match=rf"{WSJ0_NAMES[1]}\.wav has no source .*s2"):
        read_published_set(tmp_path / "wav8k" / "min", "test")
    with pytest.raises(EvaluationError, match=r"no mixtures for 'test': expected, as in LibriMix"):
        read_published_set(EXAMPLES / "training", "test")


def test_conditions_want_sources_without_surroundings(tmp_path, voices, capsys):
    a_tree(tmp_path / "tt", WSJ0_NAMES, voices, 8000, ("mix_clean", "mix_both"))
    assert main(["--list", str(tmp_path), "--mixtures", "mix_both", "--condition", "clean"]) == 1
    assert "mix_both has its own: take mix_clean" in capsys.readouterr().err
