"""Where the command puts stems: names from a template, everything in one folder; and what it leaves alone there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.cli.test_command import separate
from tests.service.cli.test_wishes import lines, write


@pytest.fixture(scope="module")
def speech(two_speakers: Path) -> np.ndarray:
    return soundfile.read(two_speakers, dtype="float32")[0][:32_000]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_flat_layout_and_a_second_run_over_it(tmp_path: Path, speech: np.ndarray, bundled_model: Path) -> None:
    write(tmp_path / "in" / "talk.wav", speech)
    write(tmp_path / "in" / "deep" / "talk.wav", speech[::-1])
    write(tmp_path / "out" / "mine.wav", speech)
    done = separate("in", "-n", 3, "--flat", "-o", "out", "--csv", "--json", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    reports = ("activity.csv", "activity.rttm", "background.wav", "manifest.json")
    stems = ("stem_1.wav", "stem_2.wav", "stem_3.wav")
    expected = [f"{of}_{name}" for of in ("deep_talk", "talk") for name in (*reports, *stems)]
    assert names(tmp_path / "out") == sorted([*expected, "mine.wav"])
    for line, of in zip(lines(done), ("talk", "deep_talk"), strict=True):
        assert line["stems"] == [f"out/{of}_{stem}" for stem in stems]
        manifest = json.loads((tmp_path / "out" / f"{of}_manifest.json").read_text())
        assert [stem["file"] for stem in manifest["stems"]] == [f"{of}_{stem}" for stem in stems]
        assert manifest["background"] == f"{of}_background.wav"
    done = separate("in/talk.wav", "-n", 2, "--flat", "-o", "out", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "-> out/talk_*" in done.stdout
    left = {"talk_stem_3.wav", "talk_activity.csv"}  # of the run before, and not of this one
    assert names(tmp_path / "out") == sorted({*expected, "mine.wav"} - left)
    done = separate("in/talk.wav", "--flat", "-o", "out", "--skip-existing", model=bundled_model, cwd=tmp_path)
    assert "skipped" in done.stdout
    assert not list((tmp_path / "out").glob(".*"))


def test_a_template_names_files_and_folders(tmp_path: Path, speech: np.ndarray, bundled_model: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", speech)
    done = separate(
        "a.wav", "b.wav", "-n", 1, "--name", "{stem}/{recording} (mono)", "--mono", model=bundled_model, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {"stem_1/a (mono).wav", "stem_1/b (mono).wav", "manifest/b (mono).json"} < set(names(tmp_path / "stems"))
    manifest = json.loads((tmp_path / "stems" / "manifest" / "a (mono).json").read_text())
    assert manifest["stems"][0]["file"] == "../stem_1/a (mono).wav"
    done = separate("a.wav", "-n", 1, "--name", "{stem}", "-o", "alone", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"stem_1.wav", "manifest.json"} < set(names(tmp_path / "alone"))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}", "2 recordings"),
        ("{recording}", "{stem}"),
        ("{recording}_{stem}_{speaker}", "nothing else in braces"),
        ("{recording}_{stem", "expected '}'"),
        ("{recording.parent}/{stem}", "nothing else in braces"),
        ("../{recording}_{stem}", "stays inside"),
        ("/tmp/{recording}_{stem}", "stays inside"),
    ],
)
def test_a_template_that_cannot_be_is_refused_at_once(
    tmp_path: Path, speech: np.ndarray, template: str, expected: str, bundled_model: Path
) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", speech)
    done = separate("a.wav", "b.wav", "--name", template, model=bundled_model, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (tmp_path / "stems").exists()


def test_files_of_others_are_left_alone(tmp_path: Path, speech: np.ndarray, bundled_model: Path) -> None:
    write(tmp_path / "a.wav", speech)
    write(tmp_path / "a_stem_1.wav", speech)
    before = (tmp_path / "a_stem_1.wav").read_bytes()
    done = separate("a.wav", "--flat", "-o", ".", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "a_stem_1.wav exists and is not of an earlier run" in done.stderr
    done = separate("a.wav", "a_stem_1.wav", "--flat", "-o", ".", "-n", 1, model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "a_stem_1.wav is a recording that was named" in done.stderr
    assert (tmp_path / "a_stem_1.wav").read_bytes() == before
    assert (tmp_path / "a_stem_1_stem_1.wav").is_file()
    assert not (tmp_path / "a_manifest.json").exists()
    write(tmp_path / "b" / "x.wav", speech)
    write(tmp_path / "c" / "x.flac", speech)
    assert separate("b/x.wav", "--flat", model=bundled_model, cwd=tmp_path).returncode == 0
    done = separate("c/x.flac", "--flat", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds the stems of x.wav" in done.stderr
