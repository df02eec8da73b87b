"""Oracle NMF: bases of two who have nothing in common, and what they may be learned from."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile

from benchmarks.paper import oracle_nmf
from benchmarks.paper.hearing import hear
from benchmarks.paper.rows import MAIN
from tests.benchmarks.conftest import ROOT
from unmingle.training.errors import TrainingError
from unmingle.training.evaluation.mixture_list import read_list
from unmingle.training.recordings import Recording

CONFIG = MAIN.config("nowhere", 1.0, 0).network
RATE, SECONDS = CONFIG.sample_rate, 2


def buzzes(pitches, seconds, seed):
    """(samples,) of harmonic tones, one after the other: somebody with a voice of a few pitches."""
    rng, time_s = np.random.default_rng(seed), np.arange(RATE // 4) / RATE
    tones = [
        sum(np.sin(2 * np.pi * h * rng.choice(pitches) * time_s) / h for h in range(1, 9)) * np.hanning(len(time_s))
        for _ in range(4 * seconds)
    ]
    return (0.1 * np.concatenate(tones)).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A list of one mixture of two voices, and their recordings, which go on after it."""
    folder = tmp_path_factory.mktemp("voices")
    voices = {"low": buzzes((110.0, 130.0), 12, 0), "high": buzzes((420.0, 510.0), 12, 1)}
    for name, samples in voices.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE)
    row = {"id": "both", "seconds": SECONDS, "genders": "MF"}
    for i, name in enumerate(voices, start=1):
        row |= {f"source{i}_path": f"{name}.wav", f"source{i}_start": 3 * RATE, f"source{i}_gain_db": 0}
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return read_list(folder / "list.csv"), [Recording(folder / f"{name}.wav", name, "test") for name in voices]


def test_voices_of_different_pitch_come_apart(corpus):
    (listed,), recordings = corpus
    heard = hear(listed, CONFIG)
    masks = oracle_nmf.OracleNmf(recordings)(heard)(heard.whole)
    np.testing.assert_allclose(masks.sum(0), 1.0, atol=1e-5)
    assert heard.improvement_db(masks) > 10.0
    # It knows who is who: the masks are in the order of the list.
    assert (masks * heard.magnitude)[0][heard.ideal()[0] > 0].sum() > 0.8 * heard.magnitude[heard.ideal()[0] > 0].sum()


def test_bases_are_learned_from_what_is_not_in_the_mixture(corpus, monkeypatch):
    (listed,), recordings = corpus
    heard, given = hear(listed, CONFIG), []
    learn = oracle_nmf.learn_bases
    monkeypatch.setattr(oracle_nmf, "learn_bases", lambda spoken, *rest: given.append(spoken) or learn(spoken, *rest))
    oracle_nmf.OracleNmf(recordings)(heard)
    assert [len(spoken) for spoken in given] == pytest.approx([10 * RATE / CONFIG.hop] * 2, rel=0.02)


def test_a_better_approximation_comes_of_more_bases():
    spoken = np.random.default_rng(2).gamma(1.0, size=(200, 5)) @ np.random.default_rng(3).gamma(0.3, size=(5, 60))

    def divergence(count):
        bases = oracle_nmf.learn_bases(spoken.astype(np.float32), count, np.random.default_rng(0))
        assert (bases >= 0).all()
        np.testing.assert_allclose(bases.sum(1), 1.0, atol=1e-4)
        scaled = spoken / spoken.mean()
        found = oracle_nmf.activate(scaled.astype(np.float32), bases) @ bases
        return float((scaled * np.log(scaled / found) - scaled + found).mean())

    few, more = divergence(2), divergence(5)
    assert more < 0.25 * few


def test_a_corpus_without_the_speakers_is_refused_in_words():
    listed = read_list(ROOT / "examples" / "list.csv")[0]
    with pytest.raises(TrainingError, match=r"oracle-nmf needs 5 s more of whoever speaks in .*source_1.flac"):
        oracle_nmf.OracleNmf([])(hear(listed, CONFIG))
