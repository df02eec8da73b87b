"""A long job on a real server whose worker processes share it: the stems of one worker, whatever happens to another."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import ROOT, Faults, RunningServer, encoded
from tests.service.jobs.test_jobs import kept, submit, wait
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator
from unmingle.service.workers.spreading import PARTS, parts_of

pytestmark = pytest.mark.slow

RATE = 8_000
SECONDS = 245
"""Two parts."""
WITHIN_S = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, faults: Faults) -> Iterator[RunningServer]:
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_TEST_FAULTS": str(faults.path),
        "UNMINGLE_WORKER_PROCESSES": "2",
    }
    command = (str(ROOT / "tests" / "service" / "faulty_server.py"),)
    running = RunningServer(tmp_path_factory.mktemp("spread"), environment, command)
    both_ready(running)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    """(samples,) of noise that comes and goes."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.random(2 * SECONDS + 1, np.float32), RATE // 2)[: SECONDS * RATE + 321]
    return level * rng.uniform(-0.5, 0.5, SECONDS * RATE + 321).astype(np.float32)


@pytest.fixture(scope="module")
def expected(recording: np.ndarray) -> list[bytes]:
    """The samples of the stems that one worker makes."""
    library = Separator.load(SMALL_MODEL, device="cpu")
    options = SeparationOptions(num_sources=2, background="share")
    return [stem.tobytes() for stem in library.separate(recording, RATE, options=options).stems]


def metric(server: RunningServer, name: str) -> float:
    lines = server.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def both_ready(server: RunningServer) -> None:
    until(lambda: metric(server, 'unmingle_workers{state="ready"}') == 2)


def until(what) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def result_of(server: RunningServer, location: str) -> tuple[list[bytes], dict]:
    answer = server.http.get(location + "/result")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        found = [soundfile.read(io.BytesIO(archive.read(s["file"])), dtype="float32")[0] for s in manifest["stems"]]
    return [samples.tobytes() for samples in found], manifest


def begun(server: RunningServer, recording: np.ndarray) -> str:
    answer = submit(server, encoded(recording, RATE), num_sources=2)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def check_tidy(server: RunningServer) -> None:
    for state in ("running", "waiting"):
        until(lambda state=state: metric(server, f'unmingle_recordings{{engine="parts",state="{state}"}}') == 0)
    until(lambda: not any((job / PARTS).exists() for job in kept(server)))


def test_both_workers_make_the_stems_of_one(
    server: RunningServer, recording: np.ndarray, expected: list[bytes]
) -> None:
    location = begun(server, recording)
    assert wait(server, location, "done", within_s=WITHIN_S)["progress"] == 1.0
    stems, manifest = result_of(server, location)
    assert stems == expected
    assert "cut" in manifest["stage_seconds"]
    assert manifest["samples"] == len(recording)
    assert all(stem["active"] for stem in manifest["stems"])
    overview = server.http.get(location + "/masks")
    assert overview.status_code == 200
    check_tidy(server)


@pytest.mark.parametrize("stage", ["embed", "synthesise"])
def test_a_killed_worker_costs_its_part_only(
    server: RunningServer, faults: Faults, recording: np.ndarray, expected: list[bytes], stage: str
) -> None:
    before = metric(server, "unmingle_workers_lost_total")
    (faults.path.parent / "strike-0").touch()
    faults.set(strike={stage: "SIGKILL"})
    location = begun(server, recording)
    wait(server, location, "done", within_s=WITHIN_S)
    faults.set()
    assert result_of(server, location)[0] == expected
    assert metric(server, "unmingle_workers_lost_total") == before + 1
    both_ready(server)
    check_tidy(server)


def test_a_part_that_fails_fails_the_job_and_stops_the_others(
    server: RunningServer, faults: Faults, recording: np.ndarray
) -> None:
    faults.set(fail={"synthesise": "RuntimeError"})
    location = begun(server, recording)
    assert wait(server, location, "failed", within_s=WITHIN_S)["problem"]["code"] == "internal"
    faults.set()
    check_tidy(server)


def test_a_job_that_is_deleted_stops_all_its_parts(server: RunningServer, recording: np.ndarray) -> None:
    location = begun(server, np.resize(recording, 1800 * RATE))
    until(lambda: metric(server, 'unmingle_recordings{engine="parts",state="running"}') == 2)
    assert server.http.delete(location).status_code == 204
    check_tidy(server)
    assert server.http.get(location).status_code == 404


def test_channels_that_tell_where_a_sound_is_are_separated_by_one(server: RunningServer, recording: np.ndarray) -> None:
    location = begun(server, np.stack([recording, recording[::-1]], axis=1))
    queued = 'unmingle_queued_audio_seconds{engine="jobs"}'
    until(lambda: metric(server, queued) == pytest.approx(len(recording) / RATE))
    assert server.http.delete(location).status_code == 204
    until(lambda: metric(server, queued) == 0)
    check_tidy(server)


def test_what_comes_back_to_the_front_of_the_server_loads_no_model() -> None:
    """Its results are unpickled there: parts, and a plan."""
    names = "unmingle.service.workers.spreading, unmingle.model.parts, unmingle.model.spatial.survey"
    looking = f"import sys, {names}; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", looking], check=False, timeout=WITHIN_S).returncode == 0


def test_there_are_as_many_parts_for_each_worker() -> None:
    assert [parts_of(seconds, 1) for seconds in (60, 3600, 36_000)] == [1, 1, 1]
    assert [parts_of(seconds, 2) for seconds in (59, 239, 240, 1200, 1201, 3600)] == [1, 1, 2, 2, 4, 6]
    assert parts_of(3600, 8) == 8
    assert parts_of(600, 8) == 5
    assert parts_of(36_000, 8) == 64
