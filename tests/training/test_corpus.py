"""A corpus is found, split and decoded as its folder says; what cannot be used is named."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from unmingle.training.corpus import find_backgrounds, find_recordings, load_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.train_config import TrainConfig

RATE = 16_000


def a_tone(path, seconds=0.5, rate=RATE, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.25 * np.sin(2 * np.pi * 440.0 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([tone] * channels, -1), rate)


def a_table(root, rows):
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def everything(corpus):
    return torch.cat([corpus.samples(i) for i in range(len(corpus.lengths))])


def test_the_bundled_corpus_has_speakers_to_learn_and_to_hold_out():
    found = find_recordings(Path(TrainConfig().data))
    learnt, held_out = ({r.speaker for r in found if r.split == s} for s in ("train", "valid"))
    assert len(learnt) >= 8
    assert len(held_out) >= 2
    assert not learnt & held_out


def test_folders_are_speakers_and_the_same_ones_are_held_out_each_time(tmp_path):
    for speaker in range(10):
        a_tone(tmp_path / f"speaker_{speaker}" / "chapter" / "a.wav")
    found = find_recordings(tmp_path)
    held_out = {r.speaker for r in found if r.split == "valid"}
    assert len(held_out) == 2
    assert found == find_recordings(tmp_path)


def test_metadata_csv_decides_splits_and_what_is_not_speech(tmp_path):
    rows = []
    for split, speaker, language in (
        ("train", "ann", "en"),
        ("train", "bob", "en"),
        ("train", "dog", "-"),
        ("valid", "cid", "en"),
        ("valid", "dot", "en"),
        ("test", "eve", "en"),
    ):
        a_tone(tmp_path / split / f"{speaker}.wav")
        rows.append({"path": f"{split}/{speaker}.wav", "split": split, "speaker": speaker, "language": language})
    a_table(tmp_path, rows)
    found = find_recordings(tmp_path)
    assert {(r.speaker, r.split) for r in found} == {(r["speaker"], r["split"]) for r in rows}
    corpus = load_corpus([r for r in found if r.split == "train"], RATE)
    assert dict(zip(corpus.speakers, corpus.is_speech.tolist(), strict=True)) == {
        "ann": True,
        "bob": True,
        "dog": False,
    }


@pytest.mark.parametrize("speakers", [0, 1, 3])
def test_too_few_speakers_are_refused_and_the_message_says_what_is_expected(tmp_path, speakers):
    for speaker in range(speakers):
        a_tone(tmp_path / str(speaker) / "a.wav")
    with pytest.raises(TrainingError, match=r"metadata\.csv with the columns path, split and speaker, or a folder per"):
        find_recordings(tmp_path)


def test_a_table_without_speakers_is_refused(tmp_path):
    a_table(tmp_path, [{"path": "a.wav", "split": "train"}])
    with pytest.raises(TrainingError, match="no column speaker"):
        find_recordings(tmp_path)


def test_recordings_keep_their_length_and_level_at_the_rate_asked_for(tmp_path):
    a_tone(tmp_path / "a" / "stereo.flac", seconds=1.0, rate=44_100, channels=2)
    a_tone(tmp_path / "b" / "own.wav", seconds=0.5)
    a_tone(tmp_path / "c" / "own.wav")
    a_tone(tmp_path / "d" / "own.wav")
    corpus = load_corpus(find_recordings(tmp_path), RATE)
    assert corpus.lengths.tolist() == [RATE, RATE // 2, RATE // 2, RATE // 2]
    assert corpus.rms.numpy() == pytest.approx(np.full(4, 0.25 / np.sqrt(2)), rel=5e-3)
    assert corpus.hours == pytest.approx(2.5 / 3600)
    second = corpus.samples(1).numpy() / 32768.0
    written, _ = soundfile.read(tmp_path / "b" / "own.wav")
    assert np.abs(second - written).max() < 2 / 32768


@pytest.mark.parametrize(
    ("name", "subtype", "steps"),
    [
        ("a.wav", "PCM_U8", 256.0),
        ("a.flac", "PCM_S8", 256.0),
        ("a.wav", "PCM_24", 65536.0),
        ("a.wav", "FLOAT", 65536.0),
        ("a.wav", "DOUBLE", 65536.0),
        ("a.wav", "ULAW", 64.0),
    ],
)
def test_a_recording_may_be_of_any_sample_format(tmp_path, name, subtype, steps):
    tone = 0.25 * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE)
    for speaker in "abcd":
        (tmp_path / speaker).mkdir()
        soundfile.write(tmp_path / speaker / name, tone, RATE, subtype=subtype)
    corpus = load_corpus(find_recordings(tmp_path), RATE)
    assert corpus.lengths.tolist() == [RATE] * 4
    assert np.abs(corpus.samples(0).numpy() / 32768.0 - tone).max() < 2.1 / steps


def test_a_float_recording_beyond_full_scale_is_clipped_and_does_not_wrap(tmp_path):
    for speaker in "abcd":
        (tmp_path / speaker).mkdir()
        soundfile.write(tmp_path / speaker / "a.wav", np.linspace(-3.0, 3.0, RATE), RATE, subtype="FLOAT")
    samples = load_corpus(find_recordings(tmp_path), RATE).samples(0)
    assert (samples.int().diff() >= 0).all()
    assert (int(samples[0]), int(samples[-1])) == (-32768, 32767)


def test_backgrounds_are_those_of_their_table_and_none_where_there_is_none(tmp_path):
    a_tone(tmp_path / "noise" / "rain.wav")
    a_tone(tmp_path / "noise" / "tune.wav")
    assert find_backgrounds(tmp_path) == []
    row = {"split": "train", "speaker": "noise", "language": "-"}
    with (tmp_path / "background.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", *row])
        writer.writeheader()
        writer.writerows({"path": f"noise/{name}.wav", **row} for name in ("rain", "tune"))
    found = find_backgrounds(tmp_path)
    assert [r.path.name for r in found] == ["rain.wav", "tune.wav"]
    corpus = load_corpus(found, RATE)
    assert len(corpus.speakers) == 2  # each its own, so that a blend is of two
    assert corpus.is_speech.all()


@pytest.mark.parametrize("content", [b"", b"this is no audio"])
def test_a_file_that_is_not_audio_is_named(tmp_path, content):
    for speaker in "abcd":
        a_tone(tmp_path / speaker / "a.wav")
    (tmp_path / "c" / "broken.flac").write_bytes(content)
    with pytest.raises(TrainingError, match=r"broken\.flac cannot be read"):
        load_corpus(find_recordings(tmp_path), RATE)


TONE = 0.25 * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE)


def a_cut_file(path):
    soundfile.write(path, TONE, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "write", "problem", "length"),
    [
        ("silent", lambda p: soundfile.write(p, 0 * TONE, RATE), "left out: it is silent", 0),
        ("constant", lambda p: soundfile.write(p, 0 * TONE + 0.3, RATE), "silent, only a constant value", 0),
        ("nan", lambda p: soundfile.write(p, TONE * np.nan, RATE, "FLOAT"), "samples that are not numbers", 0),
        ("short", lambda p: soundfile.write(p, TONE[:3], RATE), "it has 3 samples, which is too short", 0),
        ("cut", a_cut_file, "it is cut: only 0.50 of 1.00 s are there", RATE // 2),
        ("off", lambda p: soundfile.write(p, TONE + 0.3, RATE), "off zero by 0.30", RATE),
        ("phase", lambda p: soundfile.write(p, np.stack([TONE, -TONE], -1), RATE), "cancel each other", RATE),
    ],
)
def test_a_faulty_recording_is_named_and_does_no_harm(tmp_path, name, write, problem, length):
    for speaker in "abcd":
        a_tone(tmp_path / speaker / "a.wav")
    write(tmp_path / "b" / f"{name}.wav")
    corpus = load_corpus(find_recordings(tmp_path), RATE)
    (told,) = corpus.problems
    assert f"{name}.wav" in told
    assert problem in told
    # Two recordings come before it and two after, whether it was left out or not.
    kept = list(zip(corpus.lengths.tolist(), map(float, corpus.rms), strict=True))[2:-2]
    expected = [(pytest.approx(length, abs=50), pytest.approx(0.25 / np.sqrt(2), rel=0.01))] if length else []
    assert kept == expected


def test_all_unreadable_files_are_named_at_once(tmp_path):
    for speaker in "abcd":
        a_tone(tmp_path / speaker / "a.wav")
        (tmp_path / speaker / f"broken-{speaker}.flac").write_bytes(b"no audio")
    with pytest.raises(TrainingError) as raised:
        load_corpus(find_recordings(tmp_path), RATE)
    assert all(f"broken-{speaker}.flac" in str(raised.value) for speaker in "abcd")


def test_a_decoded_corpus_is_kept_and_decoded_again_only_when_it_changed(tmp_path, monkeypatch):
    for speaker in "abcd":
        a_tone(tmp_path / "corpus" / speaker / "a.wav")
    soundfile.write(tmp_path / "corpus" / "d" / "silent.wav", 0 * TONE, RATE)
    found = find_recordings(tmp_path / "corpus")
    plain = load_corpus(found, RATE)
    first = load_corpus(found, RATE, tmp_path / "cache")
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".int16", ".json"]

    def never(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr("unmingle.training.corpora.shards.decode", never)
        again = load_corpus(found, RATE, tmp_path / "cache")
        assert torch.equal(everything(plain), everything(first))
        assert torch.equal(everything(first), everything(again))
        assert torch.equal(first.rms, again.rms)
        assert plain.fingerprint == first.fingerprint == again.fingerprint
        assert plain.problems == again.problems
        a_tone(tmp_path / "corpus" / "a" / "a.wav", seconds=0.25)
        with pytest.raises(AssertionError, match="decoded again"):
            load_corpus(found, RATE, tmp_path / "cache")
    changed = load_corpus(found, RATE, tmp_path / "cache")
    assert changed.fingerprint != first.fingerprint


def test_half_a_cache_is_not_taken_for_a_whole_one(tmp_path):
    for speaker in "abcd":
        a_tone(tmp_path / "corpus" / speaker / "a.wav")
    found = find_recordings(tmp_path / "corpus")
    whole = everything(load_corpus(found, RATE, tmp_path / "cache"))
    (kept,) = (tmp_path / "cache").glob("*.int16")
    kept.write_bytes(kept.read_bytes()[:1000])
    assert torch.equal(everything(load_corpus(found, RATE, tmp_path / "cache")), whole)


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path):
    for speaker in "abcd":
        a_tone(tmp_path / "corpus" / speaker / "a.wav")
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(TrainingError, match=r"cache .* cannot be written to .*--cache"):
        load_corpus(find_recordings(tmp_path / "corpus"), RATE, tmp_path / "cache")


_PEAK = """
import resource, sys
from pathlib import Path
from unmingle.training.corpus import find_recordings, load_corpus
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found = find_recordings(Path(sys.argv[1]))
load_corpus(found[:8], 16000)
before = peak()
corpus = load_corpus(found, 16000)
print((peak() - before) / (2 * int(corpus.lengths.sum())))
"""


def test_loading_takes_little_more_memory_than_the_samples(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * RATE)
    for speaker in range(80):
        (tmp_path / str(speaker)).mkdir()
        soundfile.write(tmp_path / str(speaker) / "a.wav", noise, RATE)
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert float(run.stdout) < 1.2
