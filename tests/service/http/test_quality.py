"""quality=high: a server with a refiner uses it where it is asked to, everywhere alike; one without says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.cli.test_command import unmingle
from tests.service.conftest import SMALL_MODEL
from tests.service.harness import ROOT, RunningServer, post, problem_of, unpack
from tests.service.jobs.test_jobs import submit, wait
from unmingle import Client
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator

REFINER = ROOT / "training" / "weights" / "refiner-1.onnx"
HIGH = SeparationOptions(2, background="share", quality="high")
ASKED = {"num_sources": 2, "background": "share", "quality": "high"}


@pytest.fixture(scope="module")
def refining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("refining"), {"UNMINGLE_REFINER": str(REFINER)})
    yield running
    running.kill()


@pytest.fixture(scope="module")
def library(bundled_model: Path) -> Separator:
    return Separator.load(bundled_model, device="cpu", refiner=REFINER)


@pytest.fixture(scope="module")
def refined(library: Separator, two_speakers: Path) -> np.ndarray:
    return library.separate(two_speakers, options=HIGH).stems


def test_stems_are_those_of_the_library(
    refining: RunningServer, library: Separator, two_speakers: Path, refined: np.ndarray
) -> None:
    manifest, stems = unpack(post(refining, two_speakers.read_bytes(), **ASKED))
    assert manifest["quality"] == "high"
    assert manifest["stage_seconds"]["refine"] > 0
    np.testing.assert_array_equal([samples for [samples] in stems], refined)
    fast = library.separate(two_speakers, num_sources=2).stems
    manifest, stems = unpack(post(refining, two_speakers.read_bytes(), num_sources=2, background="stem"))
    assert manifest["quality"] == "fast"
    assert "refine" not in manifest["stage_seconds"]
    np.testing.assert_array_equal([samples for [samples] in stems[:2]], fast)


def test_jobs_kept_recordings_and_the_client_refine_alike(
    refining: RunningServer, two_speakers: Path, refined: np.ndarray
) -> None:
    location = submit(refining, two_speakers.read_bytes(), **ASKED).headers["location"]
    wait(refining, location, "done")
    manifest, stems = unpack(refining.http.get(location + "/result"))
    assert manifest["quality"] == "high"
    np.testing.assert_array_equal([samples for [samples] in stems], refined)
    kept = refining.http.post("/recordings", files={"file": two_speakers.read_bytes()})
    made = refining.http.post(kept.headers["location"] + "/separations", json=ASKED)
    assert made.json()["manifest"]["quality"] == "high"
    _, stems = unpack(refining.http.get(made.headers["location"] + "/result"))
    np.testing.assert_array_equal([samples for [samples] in stems], refined)
    with Client(refining.url) as client:
        assert client.separate(two_speakers, options=HIGH).manifest["quality"] == "high"


def test_a_server_says_whether_it_can(refining: RunningServer, server: RunningServer, two_speakers: Path) -> None:
    for running, qualities in ((refining, ["fast", "high"]), (server, ["fast"])):
        assert running.http.get("/models").json()["models"][0]["qualities"] == qualities
        assert running.http.get("/page/settings").json()["qualities"] == qualities
    answers = [
        post(server, two_speakers.read_bytes(), **ASKED),
        server.http.post("/jobs", params=ASKED, files={"file": two_speakers.read_bytes()}),
    ]
    kept = server.http.post("/recordings", files={"file": two_speakers.read_bytes()})
    answers.append(server.http.post(kept.headers["location"] + "/separations", json=ASKED))
    for answer in answers:
        assert "quality=high needs a refiner" in problem_of(answer, 422, "parameter_invalid")["detail"]
    answer = post(refining, two_speakers.read_bytes(), **ASKED, masks="hard")
    assert "hard masks are not refined" in problem_of(answer, 422, "parameter_invalid")["detail"]


def test_the_command(tmp_path: Path, two_speakers: Path, refining: RunningServer, refined: np.ndarray) -> None:
    how = ("-n", 2, "--background", "share", "--quality", "high")
    for output, where in (("here", ("--refiner", REFINER, "--device", "cpu")), ("there", ("--server", refining.url))):
        done = unmingle("separate", two_speakers, "-o", output, *how, *where, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for number, samples in enumerate(refined, 1):
            found, _ = soundfile.read(tmp_path / output / two_speakers.stem / f"stem_{number}.wav", dtype="float32")
            np.testing.assert_array_equal(found, samples)
    done = unmingle("separate", two_speakers, "-o", "none", *how, cwd=tmp_path)
    assert done.returncode == 2
    assert "quality=high needs a refiner" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("serve", "--port", 0), ("separate", "x.wav", "--quality", "high")])
def test_a_refiner_of_another_model_ends_it_with_one_sentence(
    tmp_path: Path, two_speakers: Path, command: tuple[object, ...]
) -> None:
    (tmp_path / "x.wav").write_bytes(two_speakers.read_bytes())
    done = unmingle(*command, "--model", SMALL_MODEL, "--refiner", REFINER, cwd=tmp_path)
    assert done.returncode == 2
    assert "belongs to the embedding model" in done.stderr
    assert "Traceback" not in done.stderr
