"""Jobs of the real server: accepted once, done once, whatever happens in between."""

from __future__ import annotations

import io
import json
import signal
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.service.harness import RunningServer, StartServer, encoded, noise, post, problem_of
from unmingle.service.http.auth import hashed

pytestmark = pytest.mark.slow


def submit(
    server: RunningServer,
    content: bytes,
    key: str | None = None,
    credentials: dict[str, str] | None = None,
    **parameters: object,
) -> httpx.Response:
    """Args: key: of idempotency; credentials: headers that say who it is."""
    headers = (credentials or {}) | ({"idempotency-key": key} if key else {})
    parameters = {"background": "share", **parameters}
    return server.http.post("/jobs", params=parameters, files={"file": content}, headers=headers, timeout=60)


def wait(server: RunningServer, location: str, *states: str, within_s: float = 90) -> dict:
    give_up = time.monotonic() + within_s
    while (body := server.http.get(location).json())["state"] not in states:
        assert time.monotonic() < give_up, body
        time.sleep(0.1)
    return body


def kept(server: RunningServer) -> list[Path]:
    return list((server.directory / "data" / "jobs").iterdir())


def test_a_job_gives_the_same_stems_as_a_request(server: RunningServer, two_speakers: Path) -> None:
    content = two_speakers.read_bytes()
    accepted = submit(server, content, num_sources=3, seed=4)
    assert accepted.status_code == 202
    location = accepted.headers["location"]
    assert location == f"/jobs/{accepted.json()['id']}"
    done = wait(server, location, "done")
    assert (done["progress"], done["audio_seconds"], done["problem"]) == (1.0, 5.0, None)
    assert done["expires_in_s"] > 0
    result = zipfile.ZipFile(io.BytesIO(server.http.get(done["result"]).content))
    assert server.http.get(location + "/manifest").json() == json.loads(result.read("manifest.json"))
    direct = zipfile.ZipFile(io.BytesIO(post(server, content, num_sources=3, seed=4).content))
    for number in (1, 2, 3):
        assert result.read(f"stem_{number}.wav") == direct.read(f"stem_{number}.wav")


def test_results_in_every_form_and_in_parts(server: RunningServer, two_speakers: Path) -> None:
    location = submit(server, two_speakers.read_bytes()).headers["location"]
    wait(server, location, "done")
    url = location + "/result"
    whole = server.http.get(url, params={"stem": 1})
    assert whole.headers["content-type"] == "audio/wav"
    samples, _ = soundfile.read(io.BytesIO(whole.content))
    assert len(samples) == 80_000
    part = server.http.get(url, params={"stem": 1}, headers={"range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(whole.content)}"
    assert part.content == whole.content[1000:2000]
    beyond = server.http.get(url, params={"stem": 1}, headers={"range": "bytes=99999999-"})
    problem_of(beyond, 416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    for nonsense in ("bytes=9-1", "bytes=x-y", "seconds=0-1", "bytes"):
        answer = server.http.get(url, params={"stem": 1}, headers={"range": nonsense})
        assert (answer.status_code, answer.content) == (200, whole.content)
    resumed = {"range": "bytes=1000-", "if-range": whole.headers["etag"]}
    assert server.http.get(url, params={"stem": 1}, headers=resumed).content == whole.content[1000:]
    flac = server.http.get(url, params={"format": "flac"}, headers={"accept": "multipart/mixed"})
    assert flac.content.count(b"fLaC") == 2
    assert len(server.http.get(url, headers={"accept": "application/json"}).json()["stems"]) == 2
    problem_of(server.http.get(url, headers={"accept": "image/png"}), 406, "not_acceptable")
    problem_of(server.http.get(url, params={"stem": 3}), 422, "parameter_invalid")


def test_events_tell_the_way_to_the_end(server: RunningServer) -> None:
    location = submit(server, noise(60)).headers["location"]
    seen = []
    with server.http.stream("GET", location + "/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
    assert seen[-1]["state"] == "done"
    progress = [status["progress"] for status in seen]
    assert progress == sorted(progress)
    assert any(0 < value < 1 for value in progress)


def test_prefer_respond_async_makes_a_job_of_a_request(server: RunningServer, two_speakers: Path) -> None:
    files, headers = {"file": two_speakers.read_bytes()}, {"prefer": "respond-async"}
    response = server.http.post("/separate", files=files, headers=headers)
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    wait(server, response.headers["location"], "done")


@pytest.mark.parametrize(
    ("prefer", "status"),
    [("handling=lenient, Respond-Async; wait=5", 202), ("respond-asynchronously", 200), ("return=minimal", 200)],
)
def test_preferences_are_read_as_such(server: RunningServer, two_speakers: Path, prefer: str, status: int) -> None:
    files = {"file": two_speakers.read_bytes()}
    assert server.http.post("/separate", files=files, headers={"prefer": prefer}).status_code == status


def test_a_result_comes_as_the_job_was_asked_for(server: RunningServer, two_speakers: Path) -> None:
    location = submit(server, two_speakers.read_bytes(), format="flac", subtype="PCM_16", stem=2).headers["location"]
    wait(server, location, "done")

    def get(accept: str, **query: object) -> httpx.Response:
        return server.http.get(location + "/result", params=query, headers={"accept": accept})

    with zipfile.ZipFile(io.BytesIO(get("application/zip").content)) as archive:
        assert archive.read("stem_2.flac")[:4] == b"fLaC"
    assert get("*/*").content == get("audio/wav", stem=2).content  # the stem that was asked for, as a WAV
    assert get("application/json", format="ogg").json()["subtype"] == "VORBIS"
    problem_of(submit(server, two_speakers.read_bytes(), format="flac", subtype="OPUS"), 422, "parameter_invalid")


def test_an_idempotency_key_makes_one_job(start_server: StartServer, two_speakers: Path) -> None:
    server = start_server(UNMINGLE_API_KEYS=f"alice={hashed('a')}")
    content, alice = two_speakers.read_bytes(), {"authorization": "Bearer a"}
    first, second = (submit(server, content, "key-1", alice) for _ in "12")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.headers["location"] == second.headers["location"]
    problem_of(submit(server, content, "key-1", alice, seed=1), 422, "idempotency_conflict")
    assert submit(server, content, "key-2", alice).headers["location"] != first.headers["location"]


def test_bad_uploads_and_unknown_jobs(server: RunningServer) -> None:
    problem_of(submit(server, b"no audio"), 415, "format_unsupported")
    problem_of(submit(server, b""), 422, "file_empty")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/result")):
        problem_of(server.http.request(method, f"/jobs/nonsense{path}"), 404, "job_unknown")


def test_a_job_that_cannot_be_decoded_fails_and_says_why(server: RunningServer) -> None:
    nan = encoded(np.array([0.1, np.nan, 0.1], np.float32), 16_000)
    location = submit(server, nan).headers["location"]
    assert wait(server, location, "failed")["problem"]["code"] == "audio_unusable"
    problem_of(server.http.get(location + "/result"), 409, "job_failed")


def test_deleting_a_job_ends_it_and_frees_the_disk(start_server: StartServer) -> None:
    server = start_server()
    running = submit(server, noise(300), num_sources=8).headers["location"]
    waiting = submit(server, noise(1)).headers["location"]
    wait(server, running, "running")
    status = server.http.get(waiting).json()
    assert (status["state"], status["position"]) == ("queued", 1)
    problem_of(server.http.get(waiting + "/result"), 409, "job_not_done")
    start = time.monotonic()
    assert server.http.delete(running).status_code == 204
    assert time.monotonic() - start < 1
    assert [path.name for path in kept(server)] == [waiting.removeprefix("/jobs/")]
    problem_of(server.http.get(running), 404, "job_unknown")
    wait(server, waiting, "done")
    server.http.delete(waiting)
    assert kept(server) == []


@pytest.mark.parametrize("progress", [0.05, 0.55])
def test_deleting_a_job_in_the_middle_frees_what_it_has_open(start_server: StartServer, progress: float) -> None:
    server = start_server(UNMINGLE_LOG_FORMAT="json")
    location = submit(server, noise(60), num_sources=8).headers["location"]
    give_up = time.monotonic() + 60
    while server.http.get(location).json()["progress"] < progress:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert server.http.delete(location, headers={"x-request-id": "deletion"}).status_code == 204
    assert kept(server) == []
    server.wait_for(lambda _: not server.unlinked())
    wait(server, submit(server, noise(1)).headers["location"], "done")
    entries = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert next(entry["seconds"] for entry in entries if entry.get("request_id") == "deletion") < 1


def test_short_requests_do_not_wait_for_long_jobs(start_server: StartServer, two_speakers: Path) -> None:
    server = start_server()
    location = submit(server, noise(300), num_sources=8).headers["location"]
    wait(server, location, "running")
    assert post(server, two_speakers.read_bytes()).status_code == 200
    assert server.http.get(location).json()["state"] == "running"


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)])
def test_accepted_jobs_survive_the_end_of_the_server(
    start_server: StartServer, two_speakers: Path, end: signal.Signals, code: int
) -> None:
    server = start_server()
    long = submit(server, noise(60), "long").headers["location"]
    short = submit(server, two_speakers.read_bytes(), "short").headers["location"]
    give_up = time.monotonic() + 60
    while server.http.get(long).json()["progress"] == 0:
        assert time.monotonic() < give_up
    server.process.send_signal(end)
    assert server.process.wait(timeout=40) == code
    server.start()
    assert submit(server, two_speakers.read_bytes(), "short").headers["location"] == short
    for location in (long, short):
        assert wait(server, location, "done")["result"]
        with zipfile.ZipFile(io.BytesIO(server.http.get(location + "/result").content)) as archive:
            assert archive.testzip() is None
    assert len(kept(server)) == 2
    assert all(
        sorted(path.name for path in job.iterdir() if "package" not in path.name) == ["stems"] for job in kept(server)
    )


def test_limits_of_jobs_and_their_end(start_server: StartServer) -> None:
    server = start_server(
        UNMINGLE_MAX_JOBS="2",
        UNMINGLE_JOB_MAX_SECONDS="250",
        UNMINGLE_MAX_SECONDS="10",
        UNMINGLE_JOB_KEEP_S="2",
    )
    assert "/jobs" in problem_of(post(server, noise(30)), 413, "recording_too_long")["detail"]
    problem_of(submit(server, noise(300)), 413, "recording_too_long")
    first = submit(server, noise(200)).headers["location"]
    second = submit(server, noise(60)).headers["location"]  # long: it runs beside the first, and must not be done
    full = submit(server, noise(1))
    problem_of(full, 503, "server_full")
    assert int(full.headers["retry-after"]) >= 1
    server.http.delete(first)
    wait(server, second, "done")
    give_up = time.monotonic() + 15
    while server.http.get(second).status_code == 200:
        assert time.monotonic() < give_up, "a finished job does not expire"
        time.sleep(0.1)
    while kept(server):  # files go after the job has
        assert time.monotonic() < give_up + 15, kept(server)
        time.sleep(0.1)


def test_the_disk_has_a_cap(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_MAX_DISK_BYTES="100000")
    problem_of(submit(server, noise(10)), 507, "disk_full")
    assert kept(server) == []


def test_jobs_belong_to_their_key(start_server: StartServer, two_speakers: Path) -> None:
    server = start_server(UNMINGLE_API_KEYS=f"alice={hashed('a')},bob={hashed('b')}")
    alice, bob = ({"authorization": f"Bearer {key}"} for key in "ab")
    files = {"file": two_speakers.read_bytes()}
    problem_of(server.http.post("/jobs", files=files), 401, "unauthorised")
    location = server.http.post("/jobs", files=files, headers=alice).headers["location"]
    assert server.http.get(location, headers=alice).status_code == 200
    for path in ("", "/result", "/events"):
        problem_of(server.http.get(location + path, headers=bob), 404, "job_unknown")
    problem_of(server.http.delete(location, headers=bob), 404, "job_unknown")
