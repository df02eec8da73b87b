"""`python -m benchmarks.quality.page` on a small corpus made of the examples, as its users start it."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest
import soundfile

from tests.benchmarks.conftest import ROOT

pytestmark = pytest.mark.slow

SMALL = str(ROOT / "tests" / "service" / "small.onnx")
COMMAND = [sys.executable, "-m", "benchmarks.quality.page"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The lists that the page is made from, of the examples; a third speaker's voice stands for a sound."""
    folder = tmp_path_factory.mktemp("corpus")
    with (ROOT / "examples" / "list.csv").open(newline="") as lines:
        rows = {row["id"]: row for row in csv.DictReader(lines)}
    for row in rows.values():
        for i in (1, 2, 3):
            source = row[f"source{i}_path"]
            if source:  # a folder for each speaker
                speaker = f"{row['id']}_{i}"
                (folder / speaker).mkdir()
                (folder / speaker / "voice.flac").symlink_to(ROOT / "examples" / source)
                row[f"source{i}_path"] = f"{speaker}/voice.flac"
    two = [rows["two_speakers"], rows["same_gender"]]
    sound = rows["two_speakers"] | {"genders": "FN"}
    for name, chosen in (("test_2mix", two), ("test_3mix", [rows["three_speakers"]]), ("test_speech_sound", [sound])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows["three_speakers"]))
            writer.writeheader()
            writer.writerows(chosen)
    voices = sorted(file.parent.name for file in folder.glob("*/voice.flac"))
    language = {voice: "-" if voice == "three_speakers_3" else "en" for voice in voices}
    table = [f"{voice}/voice.flac,test,{voice},{language[voice]}" for voice in voices]
    (folder / "metadata.csv").write_text("\n".join(("path,split,speaker,language", *table)) + "\n")
    return folder


@pytest.fixture(scope="module")
def page(corpus, tmp_path_factory):
    """The page, filled with what was measured on that corpus."""
    page = tmp_path_factory.mktemp("docs") / "quality.md"
    shutil.copyfile(ROOT / "docs" / "quality.md", page)
    options = ["--data", str(corpus), "--page", str(page), "--subset", "1", "--jobs", "1", "--model", SMALL]
    done = subprocess.run(
        [*COMMAND, *options], env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return page


def part(page, name):
    found = re.search(rf"<!-- quality: {name} -->\n(.*?)<!-- end -->", page.read_text(), re.DOTALL)
    assert found, name
    return found[1]


def test_every_condition_has_its_line(page):
    for title in ("clean", "room, RT60 0.6 s", "white noise, 0 dB below", "everyday sounds, 10 dB below", "8 kHz"):
        assert f"| {title} | 1 |" in part(page, "conditions")
    assert [line.split(" | ")[0] for line in part(page, "numbers").splitlines() if line[2:3].isdigit()] == [
        "| 2",
        "| 3",
        "| 4",
        "| 5",
    ]
    assert "| a woman and a man | 1 |" in part(page, "pairs")
    assert "| two women | 1 |" in part(page, "pairs")
    assert "| speech and a sound | 1 |" in part(page, "sounds")
    assert "seed 2016 (`--subset 1`)" in part(page, "about")


def test_what_was_written_by_hand_stays(page):
    by_hand = re.compile(r"(<!-- quality: \w+ -->\n).*?(<!-- end -->)", re.DOTALL)
    before, after = ((ROOT / "docs" / "quality.md").read_text(), page.read_text())
    assert by_hand.sub(r"\1\2", after) == by_hand.sub(r"\1\2", before)


def test_everything_that_the_page_links_to_is_there(page):
    links = re.findall(r"\]\(((?:audio|images)/[^)]+)\)", page.read_text())
    assert len(links) > 10
    for link in links:
        assert (page.parent / link).stat().st_size > 1000
    seconds = [soundfile.info(page.parent / link).duration for link in links if link.endswith(".ogg")]
    assert all(duration == pytest.approx(5.0, abs=0.1) for duration in seconds)


def test_a_corpus_without_the_lists_is_refused_in_words(tmp_path):
    done = subprocess.run(
        [*COMMAND, "--data", str(tmp_path)], env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "test_2mix.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_committed_page_has_its_pictures_and_examples_within_two_megabytes():
    docs = ROOT / "docs"
    links = re.findall(r"\]\(((?:audio|images)/[^)]+)\)", (docs / "quality.md").read_text())
    assert sum(link.endswith(".ogg") for link in links) > 10
    assert all((docs / link).is_file() for link in links)
    assert sum(file.stat().st_size for file in (docs / "audio").iterdir()) < 2_000_000
