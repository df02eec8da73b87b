"""What users ask of the command beside separating: folders, names, reports, parts, pictures, a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.service import formats
from tests.service.cli.test_command import separate, unmingle
from tests.service.harness import ROOT, RunningServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech(two_speakers: Path) -> np.ndarray:
    return soundfile.read(two_speakers, dtype="float32")[0][:48_000]


def write(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def lines(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_folders_formats_and_a_json_line_for_each(tmp_path: Path, speech: np.ndarray, bundled_model: Path) -> None:
    write(tmp_path / "in" / "a.wav", speech)
    write(tmp_path / "in" / "a.flac", speech)
    for name, ending in (("m4a", "m4a"), ("webm", "webm"), ("amr", "amr")):
        kind = formats.KINDS[name]
        path = tmp_path / "in" / "deep" / f"talk.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(formats.encoded(soxr.resample(speech, 16_000, kind.rate)[:, None], kind))
    (tmp_path / "in" / "notes.txt").write_text("Not audio.")
    done = separate(
        "in", "-n", 2, "--json", "--jobs", 2, "--labels", "--srt", "--csv", model=bundled_model, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = lines(done)
    assert {Path(line["folder"]).as_posix() for line in found} == {
        *("stems/a.flac", "stems/a.wav", "stems/deep/talk.amr", "stems/deep/talk.m4a", "stems/deep/talk.webm")
    }
    assert all(line["num_sources"] == 2 and len(line["confidence"]) == 2 for line in found)
    place = tmp_path / "stems" / "a.wav"
    assert (place / "activity.txt").read_text().splitlines()[0].count("\t") == 2
    assert " --> " in (place / "activity.srt").read_text()
    assert (place / "activity.csv").read_text().startswith("start_s,end_s,stem")
    done = separate("in", "-n", 2, "--skip-existing", "--pattern", "*.wav", model=bundled_model, cwd=tmp_path)
    assert "stems/a: " not in done.stdout
    assert "a.wav: 2 sources" in done.stdout  # alone, it goes to another folder


def test_names_that_are_not_unicode_or_have_control_characters(
    tmp_path: Path, speech: np.ndarray, bundled_model: Path
) -> None:
    write(tmp_path / "good.wav", speech)
    content = (tmp_path / "good.wav").read_bytes()
    for name in (b"caf\xe9.wav", b"\x1b[31mred.wav", "schön.wav".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "unmingle", "separate", b"caf\xe9.wav", b"\x1b[31mred.wav", "schön.wav", "-n", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert "schön.wav: 1 source" in done.stdout.decode()
    assert len(list((tmp_path / "stems").iterdir())) == 3


def test_another_recording_of_that_name_does_not_replace_the_first(
    tmp_path: Path, speech: np.ndarray, bundled_model: Path
) -> None:
    write(tmp_path / "a.wav", speech)
    write(tmp_path / "a.flac", speech)
    assert separate("a.wav", model=bundled_model, cwd=tmp_path).returncode == 0
    done = separate("a.flac", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds the stems of a.wav" in done.stderr
    assert separate("a.wav", model=bundled_model, cwd=tmp_path).returncode == 0
    done = separate("a.wav", "--skip-existing", model=bundled_model, cwd=tmp_path)
    assert "skipped" in done.stdout


def test_standard_input_parts_levels_and_one_against_the_rest(
    tmp_path: Path, speech: np.ndarray, bundled_model: Path
) -> None:
    write(tmp_path / "a.wav", speech)
    with (tmp_path / "a.wav").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "unmingle", "separate", "-", "--only", "1", "--start", "0:01", "--end", "2.5"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    place = tmp_path / "stems" / "stdin"
    stem, rest = (soundfile.read(place / name, dtype="float32")[0] for name in ("stem_1.wav", "rest.wav"))
    np.testing.assert_allclose(
        stem + rest, soundfile.read(tmp_path / "a.wav", dtype="float32")[0][16_000:40_000], atol=1e-5
    )
    done = separate("a.wav", "--normalise", "--gate", "--format", "flac", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    peaks = [np.abs(soundfile.read(file)[0]).max() for file in (tmp_path / "stems" / "a").glob("*.flac")]
    assert 0.85 < max(peaks) < 0.9
    done = separate("a.wav", "--start", "60", "-o", "late", model=bundled_model, cwd=tmp_path)
    assert done.returncode == 1
    assert "--start" in done.stderr
    assert separate("a.wav", "--start", 2, "--end", 1, model=bundled_model, cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(("format", "rate"), [("mp3", 16_000), ("m4a", 44_100)])
def test_compressed_stems_are_the_same_sound(
    tmp_path: Path, speech: np.ndarray, bundled_model: Path, format: str, rate: int
) -> None:
    from unmingle.model.reading.audio import read_audio

    write(tmp_path / "a.wav", soxr.resample(speech, 16_000, rate), rate)
    for out in ("wav", format):
        done = separate("a.wav", "-n", 2, "--format", out, "-o", out, "--plot", model=bundled_model, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for number in (1, 2):
        wanted = soundfile.read(tmp_path / "wav" / "a" / f"stem_{number}.wav")[0]
        got = read_audio(tmp_path / format / "a" / f"stem_{number}.{format}")[0][:, 0]
        assert np.corrcoef(wanted[2000:40_000], got[2000:40_000])[0, 1] > 0.98
    assert (tmp_path / format / "a" / "picture.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_no_hidden_folders(tmp_path: Path, speech: np.ndarray, number: int, code: int) -> None:
    write(tmp_path / "long.wav", np.tile(speech, 400))
    process = subprocess.Popen(
        [sys.executable, "-m", "unmingle", "separate", "long.wav"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("stems/.unmingle-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said == "unmingle: stopped.\n"
    assert list((tmp_path / "stems").iterdir()) == []


def test_info_models_and_completion(tmp_path: Path, speech: np.ndarray) -> None:
    write(tmp_path / "loud.flac", np.clip(20 * speech, -0.5, 0.5))
    [found] = lines(unmingle("info", "loud.flac", "--json", cwd=tmp_path))
    assert (found["format"], found["sample_rate"], found["seconds"]) == ("FLAC", 16_000, 3.0)
    assert found["sources"] >= 1
    assert any("clipped" in warning for warning in found["warnings"])
    assert "clipped" in unmingle("info", "loud.flac", cwd=tmp_path).stdout
    assert unmingle("info", "missing.flac", cwd=tmp_path).returncode == 1
    assert "unmingle: " in unmingle("models", cwd=tmp_path).stdout
    for shell in ("bash", "zsh", "fish"):
        script = unmingle("completion", shell, cwd=tmp_path).stdout
        assert "skip-existing" in script
    script = unmingle("completion", "bash", cwd=tmp_path).stdout
    ask = 'COMP_WORDS=(unmingle separate --skip); COMP_CWORD=2; _unmingle; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script + ask], capture_output=True, text=True, check=True)
    assert done.stdout == "--skip-existing\n"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from unmingle.service.cli.command import main\n"
        "try: main(['separate', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnxruntime', 'pydantic', 'soundfile', 'av', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for told in ("examples:", "exit codes:", "--labels", "--only"):
        assert told in done.stdout


def test_a_server_gives_the_same_files(
    tmp_path: Path, two_speakers: Path, server: RunningServer, bundled_model: Path
) -> None:
    for place in (("here",), ("there", "--server", server.url)):
        done = separate(two_speakers, "-n", 2, "--csv", "-o", *place, model=bundled_model, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "2 sources" in done.stdout
    here, there = (sorted(p.name for p in (tmp_path / p / "mixture").iterdir()) for p in ("here", "there"))
    assert here == there
    for name in ("stem_1.wav", "stem_2.wav"):
        samples = [soundfile.read(tmp_path / p / "mixture" / name)[0] for p in ("here", "there")]
        np.testing.assert_allclose(*samples, atol=1e-6)
    done = unmingle("separate", two_speakers, "--server", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_a_server_and_what_is_done_with_its_stems_here(
    tmp_path: Path, two_speakers: Path, server: RunningServer, bundled_model: Path
) -> None:
    wishes = ("--start", 1, "--end", "3.5", "--only", 2, "--gate", "--normalise", "--plot", "--format", "flac", "-n", 2)
    for place in (("here",), ("there", "--server", server.url)):
        done = separate(two_speakers, *wishes, "-o", *place, model=bundled_model, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    here, there = (tmp_path / place / "mixture" for place in ("here", "there"))
    names = [sorted(path.name for path in place.iterdir()) for place in (here, there)]
    assert names[0] == names[1] == ["activity.rttm", "manifest.json", "picture.png", "rest.flac", "stem_2.flac"]
    for name in ("stem_2.flac", "rest.flac"):
        ours, theirs = (soundfile.read(place / name)[0] for place in (here, there))
        assert len(ours) == 40_000
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
    said = [json.loads((place / "manifest.json").read_text()) for place in (here, there)]
    assert said[0]["stems"] == said[1]["stems"]
    assert said[0]["warnings"] == said[1]["warnings"]
