"""The server in its container: the same stems as outside, its probes, and nothing lost when it is stopped or killed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.docker.stack import ROOT, Stack, docker

_VERSIONS = """
import json
from importlib.metadata import version
print(json.dumps({name: version(name) for name in ("numpy", "onnxruntime", "soxr", "soundfile")}))
"""


def _stems(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        return {name: content.read(name) for name in content.namelist() if name.endswith(".wav")}


def _separate(stack: Stack, recording: Path) -> dict[str, bytes]:
    answer = stack.http.post("/separate", files={"file": (recording.name, recording.read_bytes())})
    assert answer.status_code == 200, answer.text
    return _stems(answer.content)


def test_its_own_check_sees_it_get_well_and_sick_and_well_again(stack: Stack) -> None:
    assert stack.health_seen[-1] == "healthy"
    assert "unhealthy" not in stack.health_seen
    for path in ("/livez", "/readyz", "/metrics", "/", "/page/files/main.js", "/page/files/examples/two_speakers.flac"):
        assert stack.http.get(path).status_code == 200
    docker("kill", "--signal", "STOP", stack.container)  # it hangs
    stack.wait_for_health("unhealthy")
    docker("kill", "--signal", "CONT", stack.container)
    stack.wait_for_health("healthy")


def test_stems_are_those_of_the_same_call_outside_docker(stack: Stack, mixture: Path, tmp_path: Path) -> None:
    inside = _separate(stack, mixture)
    command = [sys.executable, "-m", "unmingle", "separate", str(mixture), "-o", str(tmp_path), "--device", "cpu"]
    # Kernels that this machine's environment chooses for BLAS, and the container does not know of, round otherwise.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    outside = {path.name: path.read_bytes() for path in (tmp_path / "mixture").glob("*.wav")}
    assert sorted(inside) == sorted(outside) == ["background.wav", "stem_1.wav", "stem_2.wav"]
    here = json.loads(subprocess.run([sys.executable, "-c", _VERSIONS], check=True, capture_output=True).stdout)
    if here == json.loads(stack.python(_VERSIONS)):
        assert inside == outside
    else:  # another release of numpy or ONNX Runtime may round otherwise
        for name, stem in inside.items():
            there = soundfile.read(io.BytesIO(stem), dtype="float32")[0]
            np.testing.assert_allclose(there, soundfile.read(io.BytesIO(outside[name]), dtype="float32")[0], atol=1e-3)


def test_hostile_uploads_get_an_answer_and_do_not_end_it(stack: Stack) -> None:
    answer = stack.http.post("/separate", files={"file": ("x.wav", b"RIFF" + b"\xff" * 2000)})
    assert (answer.status_code, answer.json()["code"]) == (415, "format_unsupported")
    assert stack.http.get("/readyz").status_code == 200


@pytest.fixture
def long_recording(mixture: Path, tmp_path: Path) -> Path:
    samples, rate = soundfile.read(mixture, dtype="int16")
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(samples, 12), rate)
    return path


def _wait_for_jobs(stack: Stack, jobs: list[str], seconds: float = 300.0) -> None:
    give_up = time.monotonic() + seconds
    while True:
        try:
            states = [stack.http.get(f"/jobs/{job}").json()["state"] for job in jobs]
        except httpx.TransportError:  # it is being restarted
            states = []
        if states == ["done"] * len(jobs):
            return
        assert "failed" not in states
        if time.monotonic() > give_up:
            pytest.fail(f"Jobs are not done: {states}\n" + docker("logs", stack.container))
        time.sleep(0.5)


def _send_jobs(stack: Stack, recording: Path, count: int) -> list[str]:
    jobs = []
    for _ in range(count):
        answer = stack.http.post("/jobs", files={"file": (recording.name, recording.read_bytes())})
        assert answer.status_code == 202, answer.text
        jobs.append(answer.json()["id"])
    return jobs


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_no_job_is_lost_when_it_is_restarted_or_killed(stack: Stack, long_recording: Path, how: str) -> None:
    jobs = _send_jobs(stack, long_recording, 3)
    assert stack.http.get(f"/jobs/{jobs[-1]}").json()["state"] in ("queued", "running")
    if how == "kill":
        docker("kill", "--signal", "KILL", stack.container)
        docker("start", stack.container)
    else:
        docker("restart", "--time", "75", stack.container)
    stack.wait_for_health("healthy")
    _wait_for_jobs(stack, jobs)
    expected = _separate(stack, long_recording)
    for job in jobs:
        assert _stems(stack.http.get(f"/jobs/{job}/result").content) == expected
        assert stack.http.delete(f"/jobs/{job}").status_code < 300


def test_it_ends_with_0_on_sigterm_and_comes_back(stack: Stack, mixture: Path) -> None:
    before = _separate(stack, mixture)
    docker("stop", "--time", "75", stack.container)
    state = stack.inspect()["State"]
    assert state["Status"] == "exited"
    assert state["ExitCode"] == 0
    assert not state["OOMKilled"]
    docker("start", stack.container)
    stack.wait_for_health("healthy")
    assert _separate(stack, mixture) == before
