"""Shards survive kill -9, notice what changed, are trained on, and take no more memory than what is in use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.training.conftest import TINY, losses
from tests.training.corpora.trees import EXAMPLES, RATE, ROOT, write
from unmingle.training import prepare as command
from unmingle.training.corpora import shards as shards_module
from unmingle.training.corpora.prepared import read_manifests
from unmingle.training.corpora.shards import Shard
from unmingle.training.corpus import find_recordings, load_corpus, read_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig, MixtureSampler

pytestmark = pytest.mark.slow

SPEAKERS = sorted((EXAMPLES / "training").iterdir())

_SMALL_SHARDS = """
import sys
from unmingle.training import prepare
from unmingle.training.corpora import shards

shards.SHARD_BYTES = 40_000
sys.exit(prepare.main(sys.argv[1:]))
"""


@pytest.fixture
def corpus(tmp_path):
    """Six real speakers, some of whose recordings are symbolic links to those of the project."""
    for speaker in SPEAKERS[:6]:
        shutil.copytree(speaker, tmp_path / "corpus" / speaker.name)
    return tmp_path / "corpus"


def in_small_shards(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", _SMALL_SHARDS, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def all_samples(corpus):
    return torch.cat([corpus.samples(i) for i in range(len(corpus.lengths))])


def test_a_killed_preparation_goes_on_where_it_was(tmp_path, corpus):
    out = tmp_path / "shards"
    arguments = ("folder", corpus, "-o", out, "--jobs", 1)
    with in_small_shards(*arguments) as process:
        ends = time.monotonic() + 120
        while not list(out.glob("*/train-*.json")) and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    made = {file: file.stat().st_mtime_ns for file in out.glob("*/*.json")}
    assert made
    assert not (out / "folder" / "corpus.json").exists()
    with pytest.raises(TrainingError, match=r"folder was not finished: give the command of training/prepare\.py again"):
        read_corpus(out, "train", RATE)
    with pytest.raises(TrainingError, match="was not finished"):
        read_corpus(out / "folder", "train", RATE)
    with in_small_shards(*arguments) as process:
        _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert {file: file.stat().st_mtime_ns for file in made} == made
    manifest = read_manifests(out)[0]
    assert len(manifest.groups["train"].shards) > 2
    whole = load_corpus([r for r in find_recordings(corpus) if r.split == "train"], RATE)
    found = read_corpus(out, "train", RATE)
    assert found.fingerprint == whole.fingerprint
    assert found.speakers == whole.speakers
    assert torch.equal(all_samples(found), all_samples(whole))


def test_only_what_changed_is_made_again(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(shards_module, "SHARD_BYTES", 40_000)
    arguments = ["folder", str(corpus), "-o", str(tmp_path / "shards")]
    assert command.main(arguments) == 0
    first = read_manifests(tmp_path / "shards")[0]
    changed = min((corpus / SPEAKERS[1].name).iterdir())
    changed.write_bytes(min((corpus / SPEAKERS[2].name).iterdir()).read_bytes())
    assert command.main(arguments) == 0
    second = read_manifests(tmp_path / "shards")[0]
    names = [{name for group in m.groups.values() for name in group.shards} for m in (first, second)]
    assert 0 < len(names[0] - names[1]) < len(names[0]) / 2
    assert {file.stem for file in (tmp_path / "shards" / "folder").glob("*.int16")} == names[1]
    assert {g.fingerprint for g in first.groups.values()} != {g.fingerprint for g in second.groups.values()}


def test_a_damaged_shard_and_another_rate_are_named(tmp_path, corpus):
    assert command.main(["folder", str(corpus), "-o", str(tmp_path / "shards")]) == 0
    with pytest.raises(TrainingError, match=r"at 16000 Hz, and 8000 Hz are needed: .*--sample-rate 8000"):
        read_corpus(tmp_path / "shards", "train", 8000)
    (kept,) = (tmp_path / "shards").glob("*/train-*.int16")
    kept.write_bytes(kept.read_bytes()[:-2])
    with pytest.raises(TrainingError, match=r"train-00000.* is missing or damaged: prepare the corpus again"):
        read_corpus(tmp_path / "shards", "train", RATE)


def test_training_on_shards_is_training_on_the_folder(tmp_path, corpus):
    assert command.main(["folder", str(corpus), "-o", str(tmp_path / "shards")]) == 0
    found = {}
    for data in (corpus, tmp_path / "shards"):
        arguments = f"--data {data} --runs {tmp_path / 'runs'} --name {data.name} --steps 6 --validations 1 {TINY}"
        run = subprocess.run(
            [sys.executable, str(ROOT / "training" / "train.py"), *arguments.split()],
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert run.returncode == 0, run.stderr
        assert "speakers to train on" in run.stdout
        found[data.name] = losses(tmp_path / "runs" / data.name)
    assert len(found["shards"]) == 6
    assert found["shards"] == found["corpus"]
    assert "has prepared shards\n  folder: a folder per speaker" in run.stdout


def test_several_corpora_side_by_side_are_one(tmp_path, corpus):
    tone = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE)
    for split in ("train", "test"):
        for stem in ("drums", "bass", "other", "vocals"):
            write(tmp_path / "music" / split / "A" / f"{stem}.wav", tone)
    for arguments in (["folder", corpus], ["musdb18", tmp_path / "music"]):
        assert command.main([*map(str, arguments), "-o", str(tmp_path / "shards")]) == 0
    both = read_corpus(tmp_path / "shards", "train", RATE)
    assert (int(both.is_speech.sum()), int((~both.is_speech).sum())) == (4, 4)
    assert len(set(both.dataset.tolist())) == 2
    assert len(both.speech().speakers) == 4
    sampler = MixtureSampler(both, MixtureConfig((0.0, 1.0), sound_chance=1.0), torch.Generator().manual_seed(0))
    draw = sampler.draw(4, RATE // 2)
    assert not both.is_speech[both.speaker[draw.recording[:, 0]]].any()
    assert sampler.sources(draw, RATE // 2).abs().amax(-1).min() > 0.01
    alone = read_corpus(tmp_path / "shards" / "folder", "train", RATE)
    assert alone.is_speech.all()
    assert read_corpus(tmp_path / "shards", "valid", RATE).speech().speakers == tuple(
        read_corpus(tmp_path / "shards" / "folder", "valid", RATE).speakers
    )


HOURS, SHARDS, RECORDINGS = 10_000, 500, 100_000

_TRAINED_ON = r"""
import re, sys
from pathlib import Path
import torch
from unmingle.training.corpus import read_corpus
from unmingle.training.mixtures import MixtureConfig, MixtureSampler
corpus = read_corpus(Path(sys.argv[1]), "train", 16000)
sampler = MixtureSampler(corpus, MixtureConfig(speed_range=0.1), torch.Generator().manual_seed(0))
for _ in range(20):
    sources = sampler.sources(sampler.draw(16, 51_000), 51_000)
peak_kib = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(corpus.hours, tuple(sources.shape), int(peak_kib) // 1024)
"""


def test_ten_thousand_hours_are_drawn_from_in_little_memory(tmp_path):
    folder = tmp_path / "shards" / "huge"
    folder.mkdir(parents=True)
    here, seconds = RECORDINGS // SHARDS, HOURS * 3600 // RECORDINGS
    for number in range(SHARDS):
        shard = Shard(
            f"train-{number:05d}",
            folder / f"train-{number:05d}.int16",
            path=[f"/corpus/{number}/{i}.flac" for i in range(here)],
            speaker=[f"speaker-{(number * here + i) % 2000}" for i in range(here)],
            dataset=[""] * here,
            is_speech=[True] * here,
            length=[seconds * RATE] * here,
            rms=[0.1] * here,
            digest=["00" * 32] * here,
            problems=[],
            unreadable=[],
        )
        told = {key: value for key, value in vars(shard).items() if key not in ("name", "samples")}
        (folder / f"{shard.name}.json").write_text(json.dumps(told))
        with (folder / f"{shard.name}.int16").open("wb") as samples:
            samples.truncate(2 * sum(shard.length))  # a sparse file: all of it is there, and takes no room
    group = {"shards": [f"train-{n:05d}" for n in range(SHARDS)], "recordings": RECORDINGS, "speakers": 2000}
    group |= {"hours": HOURS, "fingerprint": "0"}
    manifest = {"format": 1, "layout": "", "source": "", "licence": "", "sample_rate": RATE, "left_out": []}
    (folder / "corpus.json").write_text(json.dumps(manifest | {"groups": {"train": group}}))
    run = subprocess.run(
        [sys.executable, "-c", _TRAINED_ON, str(tmp_path / "shards")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    hours, peak_mib = float(run.stdout.split()[0]), int(run.stdout.split()[-1])
    assert hours == HOURS
    assert peak_mib < 1024
