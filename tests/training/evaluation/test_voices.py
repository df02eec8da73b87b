"""Mixtures of any number of voices are drawn from a corpus, the same each time."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tests.training.conftest import ROOT
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import load_sources
from unmingle.training.evaluation.voices import mixtures_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers to test on and one to learn from, and a sound."""
    folder = tmp_path_factory.mktemp("corpus")
    speakers = sorted((ROOT / "examples" / "training").iterdir())[:8]
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "split", "speaker", "language", "gender"))
        for number, speaker in enumerate(speakers):
            recording = min(speaker.iterdir(), key=lambda f: f.name)
            (folder / speaker.name).mkdir()
            (folder / speaker.name / recording.name).symlink_to(recording)
            split = "train" if number == 6 else "test"
            language, gender = ("-", "") if number == 7 else ("en", ("F", "M", "")[number % 3])
            rows.writerow((f"{speaker.name}/{recording.name}", split, speaker.name, language, gender))
    return folder


@pytest.mark.parametrize("voices", [1, 4, 6])
def test_so_many_different_speakers_of_the_split_at_levels_up_to_5_db_apart(corpus, voices):
    mixtures = mixtures_of(corpus, "test", voices, 10)
    assert len(mixtures) == len({m.id for m in mixtures}) == 10
    train = sorted((ROOT / "examples" / "training").iterdir())[6].name
    for mixture in mixtures:
        names = [part.path.parent.name for part in mixture.parts]
        assert len(set(names)) == voices
        assert train not in names
        assert {part.gender for part in mixture.parts} <= {"F", "M", "U"}
        sources, rate = load_sources(mixture)
        assert sources.shape == (voices, 5 * rate)
        level_db = 10.0 * np.log10(np.square(sources, dtype=np.float64).mean(1))
        assert -28.6 < level_db.min() <= level_db.max() < -23.4


def test_the_same_again_and_another_number_is_another_draw(corpus):
    assert mixtures_of(corpus, "test", 4, 5) == mixtures_of(corpus, "test", 4, 5)
    assert mixtures_of(corpus, "test", 4, 5) == mixtures_of(corpus, "test", 4, 8)[:5]
    first, second = (mixtures_of(corpus, "test", n, 5)[0].parts[0] for n in (4, 5))
    assert first != second


def test_what_cannot_be_drawn_is_said(corpus, tmp_path):
    with pytest.raises(EvaluationError, match=r"7 voices were asked for, but 'test' of .* has 6 speakers"):
        mixtures_of(corpus, "test", 7, 1)
    with pytest.raises(EvaluationError, match=r"metadata\.csv cannot be read"):
        mixtures_of(tmp_path, "test", 2, 1)
    (tmp_path / "metadata.csv").write_text("path,who\na.flac,me\n")
    with pytest.raises(EvaluationError, match="no column speaker, split"):
        mixtures_of(tmp_path, "test", 2, 1)
