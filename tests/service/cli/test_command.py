"""The `unmingle` command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from tests.service.harness import ROOT


def separate(*arguments: object, model: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return unmingle("separate", *arguments, "--model", model, cwd=cwd)


def unmingle(*arguments: object, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unmingle", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        input=stdin,
        check=False,
    )


def test_stems_and_manifest_for_every_file_and_a_summary_of_the_bad_ones(
    tmp_path: Path, two_speakers: Path, bundled_model: Path
) -> None:
    (tmp_path / "letter.wav").write_text("Dear reader")
    (tmp_path / "empty.wav").touch()
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (30_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "stereo.wav", stereo, 44_100, subtype="FLOAT")
    files = (two_speakers, "letter.wav", "empty.wav", "missing.wav", "stereo.wav")
    done = separate(*files, "-o", "out", "-n", 3, model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "3 of 5 files failed" in done.stderr
    for name in ("letter.wav", "empty.wav", "missing.wav"):
        assert f"{name}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mixture", "stereo"]
    manifest = json.loads((tmp_path / "out" / "stereo" / "manifest.json").read_text())
    assert (manifest["num_sources"], manifest["channels"], manifest["sample_rate"]) == (3, 2, 44_100)
    stems = [soundfile.read(tmp_path / "out" / "stereo" / stem["file"])[0] for stem in manifest["stems"]]
    np.testing.assert_allclose(np.sum(stems, axis=0), stereo, atol=1e-5)


def test_a_second_run_replaces_the_stems_and_leaves_nothing_else(
    tmp_path: Path, two_speakers: Path, bundled_model: Path
) -> None:
    assert separate(two_speakers, "-o", tmp_path, "-n", 3, model=bundled_model, cwd=tmp_path).returncode == 0
    assert (
        separate(two_speakers, "-o", tmp_path, "--subtype", "PCM_16", model=bundled_model, cwd=tmp_path).returncode == 0
    )
    names = sorted(path.name for path in (tmp_path / "mixture").iterdir())
    assert names == ["activity.rttm", "background.wav", "manifest.json", "stem_1.wav", "stem_2.wav"]
    assert soundfile.info(tmp_path / "mixture" / "stem_1.wav").subtype == "PCM_16"
    assert [path.name for path in tmp_path.iterdir()] == ["mixture"]


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, two_speakers: Path, bundled_model: Path) -> None:
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture" / "diary.txt").write_text("mine")
    done = separate(two_speakers, "-o", tmp_path, model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "something else" in done.stderr
    assert [path.name for path in (tmp_path / "mixture").iterdir()] == ["diary.txt"]


def test_files_of_one_name_get_their_directory_before_it(
    tmp_path: Path, two_speakers: Path, bundled_model: Path
) -> None:
    for name in ("morning", "evening"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "talk.flac").write_bytes(two_speakers.read_bytes())
    done = separate("morning/talk.flac", "evening/talk.flac", "-o", "out", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evening_talk", "morning_talk"]


def test_a_model_that_is_none_ends_it_with_one_sentence(tmp_path: Path, two_speakers: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    for command in (("separate", two_speakers, "-o", "out"), ("serve", "--port", 0)):
        done = unmingle(*command, "--model", "model.onnx", cwd=tmp_path)
        assert done.returncode == 2
        assert "model.onnx" in done.stderr
        assert "Traceback" not in done.stderr


def test_help_and_version(tmp_path: Path) -> None:
    from unmingle.service.version import version

    assert "separate" in unmingle("--help", cwd=tmp_path).stdout
    assert unmingle("--version", cwd=tmp_path).stdout == f"unmingle {version()}\n"
    assert unmingle("separate", "x.wav", "-o", "out", "-n", 9, cwd=tmp_path).returncode == 2
