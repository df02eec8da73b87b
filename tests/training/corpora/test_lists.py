"""Official lists of mixtures give what their authors' scripts would have made, and what is missing is named."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from tests.training.corpora.trees import RATE, write
from unmingle.training import prepare as command
from unmingle.training.corpora.active_level import active_level_db
from unmingle.training.corpora.prepared import read_manifests
from unmingle.training.corpus import speakers_of
from unmingle.training.evaluation.mixture_list import load_sources, read_list

GAINS = (0.7, 1.9)


def a_librispeech(root, voices):
    """Two parts with two speakers each, of different lengths; {path: samples}."""
    files = {}
    for part, people in (
        ("train-clean-100", ("19", "26")),
        ("dev-clean", ("84", "174")),
        ("test-clean", ("61", "121")),
    ):
        for number, speaker in enumerate(people):
            path = f"{part}/{speaker}/70/{speaker}-70-0001.flac"
            files[path] = voices[number][: len(voices[number]) - 3333 * number]
            write(root / path, files[path])
    (root / "SPEAKERS.TXT").write_text(
        ";ID |SEX| SUBSET\n61 | M | test-clean | 8.1 | Paul\n121 | F | test-clean | 8 | Ann\n"
    )
    return files


def librimix_lists(folder, files, parts=("train-clean-100", "dev-clean", "test-clean"), gain=GAINS[1]):
    folder.mkdir()
    for part in parts:
        first, second = (path for path in files if path.startswith(part)) if part[-3:] != "360" else list(files)[:2]
        row = {"mixture_ID": f"{part}-1", "source_1_path": first, "source_1_gain": GAINS[0]}
        row |= {"source_2_path": second, "source_2_gain": gain, "noise_path": "tt/a.wav", "noise_gain": 0.3}
        for name in (f"libri2mix_{part}.csv", f"libri2mix_{part}_info.csv"):
            with (folder / name).open("w", newline="") as lines:
                writer = csv.DictWriter(lines, list(row))
                writer.writeheader()
                writer.writerow(row)
    return folder


@pytest.mark.parametrize("length", ["min", "max"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_one_command_builds_training_and_test_from_librispeech(tmp_path, voices, prepare, rate, length):
    files = a_librispeech(tmp_path / "LibriSpeech", voices)
    parts = ("train-clean-100", "train-clean-360", "dev-clean", "test-clean")
    lists = librimix_lists(tmp_path / "Libri2Mix", files, parts)
    arguments = ("--lists", lists, "--sample-rate", rate, "--length", length, "-o", tmp_path / "shards")
    done = prepare("librimix", tmp_path / "LibriSpeech", *arguments)
    assert done.returncode == 0, done.stderr
    assert "libri2mix_train-clean-360.csv, because LibriSpeech's train-clean-360 is not in" in done.stdout
    assert speakers_of(tmp_path / "shards", "train") == {"librispeech/19", "librispeech/26"}
    assert speakers_of(tmp_path / "shards", "valid") == {"librispeech/84", "librispeech/174"}

    made = tmp_path / "shards" / "librimix" / "lists" / f"libri2mix_test-clean_{rate // 1000}k_{length}.csv"
    assert f"--list {made}" in done.stdout
    (listed,) = read_list(made)
    assert (listed.id, listed.pairing) == ("test-clean-1", "FM")
    sources, its_rate = load_sources(listed)
    assert its_rate == rate
    # As LibriMix's scripts do it: gain, then rate, then length.
    expected = [
        resample_poly(soundfile.read(tmp_path / "LibriSpeech" / path, dtype="float32")[0] * gain, rate, RATE)
        for path, gain in zip([path for path in files if path.startswith("test")], GAINS, strict=True)
    ]
    samples = (min if length == "min" else max)(map(len, expected))
    expected = np.stack([np.pad(part[:samples], (0, max(0, samples - len(part)))) for part in expected])
    assert sources.shape == expected.shape
    assert np.abs(sources - expected).max() < 1e-5


def test_missing_recordings_lists_and_gains_are_named(tmp_path, voices, capsys):
    files = a_librispeech(tmp_path / "LibriSpeech", voices)
    lists = librimix_lists(tmp_path / "lists", files)
    bad = librimix_lists(tmp_path / "bad", files, gain=0.0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "LibriSpeech" / "test-clean" / "61" / "70" / "61-70-0001.flac").unlink()
    for folder, message in (
        (lists, "61-70-0001.flac, but there is no such file"),
        (bad, "libri2mix_dev-clean.csv, line 2: expected mixture_ID and"),
        (tmp_path / "empty", "has no official lists: expected files such as libri2mix_train-clean-100.csv"),
    ):
        arguments = ["librimix", tmp_path / "LibriSpeech", "--lists", folder, "-o", tmp_path / "shards"]
        assert command.main([*map(str, arguments)]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_wsj0_mixtures_have_the_listed_active_levels(tmp_path, voices, rate, count):
    wsj0 = tmp_path / "wsj0"
    paths = [f"si_tr_s/{name[:3]}/{name}.wav" for name in ("01to030v", "02ac020a", "40na010x")][:count]
    quiet_part = np.zeros(RATE, np.float32)
    for number, path in enumerate(paths):
        # A pause changes the level of a recording, and hardly that of the speech in it.
        write(wsj0 / path, 0.1 * (number + 1) * np.concatenate((voices[number % 2], quiet_part)))
    levels = (1.5, -1.5, 0.0)[:count]
    (tmp_path / "lists").mkdir()
    line = " ".join(f"wsj0/{path} {level}" for path, level in zip(paths, levels, strict=True))
    for split in ("tr", "cv", "tt"):
        (tmp_path / "lists" / f"mix_{count}_spk_{split}.txt").write_text(line + "\n")
    for root in (wsj0, tmp_path):
        arguments = ["wsj0-mix", root, "--lists", tmp_path / "lists", "--sample-rate", rate, "-o", tmp_path / "shards"]
        assert command.main([*map(str, arguments)]) == 0
    made = tmp_path / "shards" / "wsj0-mix" / "lists" / f"mix_{count}_spk_tt_{rate // 1000}k_min.csv"
    (listed,) = read_list(made)
    assert listed.id.startswith("01to030v_1.5_02ac020a_-1.5")
    sources, _ = load_sources(listed)
    assert [active_level_db(source, rate) for source in sources] == pytest.approx(levels, abs=0.4)
    (manifest,) = read_manifests(tmp_path / "shards")
    assert manifest.groups["test"].speakers == count


def test_the_active_level_does_not_count_pauses(voices):
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * RATE)
    assert active_level_db(noise, RATE) == pytest.approx(-20.0, abs=0.1)
    assert active_level_db(np.concatenate((noise, 0 * noise)), RATE) == pytest.approx(-20.0, abs=0.3)
    half = active_level_db(0.5 * voices[0], RATE)
    assert active_level_db(voices[0], RATE) - half == pytest.approx(6.02, abs=0.01)
    assert active_level_db(0 * noise, RATE) == -np.inf


def test_a_line_that_is_no_mixture_is_named(tmp_path, capsys):
    (tmp_path / "mix_2_spk_tr.txt").write_text("wsj0/a.wav 1.0 wsj0/b.wav\n")
    assert command.main(["wsj0-mix", str(tmp_path), "--lists", str(tmp_path), "-o", str(tmp_path / "shards")]) == 1
    assert "mix_2_spk_tr.txt, line 1: expected PATH LEVEL_DB PATH LEVEL_DB" in capsys.readouterr().err


def test_lists_go_with_corpora_that_have_some(tmp_path, capsys):
    assert command.main(["vctk", str(tmp_path), "--lists", str(tmp_path), "-o", str(tmp_path / "shards")]) == 1
    assert "--lists goes with librimix and wsj0-mix" in capsys.readouterr().err
