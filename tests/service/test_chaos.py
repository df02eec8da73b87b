"""Whatever breaks: no accepted job is lost, no client hangs, readiness tells the truth, and then all is well again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import email.utils
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.harness import (
    ROOT,
    Faults,
    RunningServer,
    StartServer,
    connect,
    idle,
    noise,
    post,
    problem_of,
    request_bytes,
    separating,
)
from tests.service.jobs.test_jobs import kept, submit, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, bundled_model: Path, faults: Faults) -> Iterator[RunningServer]:
    environment = {"UNMINGLE_MODEL": str(bundled_model), "UNMINGLE_TEST_FAULTS": str(faults.path)}
    command = (str(ROOT / "tests" / "service" / "faulty_server.py"),)
    running = RunningServer(tmp_path_factory.mktemp("faulty"), environment, command)
    yield running
    running.kill()


def well(server: RunningServer, recording: bytes) -> None:
    """The server is as if nothing had happened."""
    assert server.http.get("/readyz").status_code == 200
    assert post(server, recording).status_code == 200
    server.wait_for(idle)
    server.wait_for(lambda _: not server.spooled())
    server.wait_for(lambda _: not server.unlinked())


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("receive", "RuntimeError"),
        ("decode", "MemoryError"),
        ("separate", "SystemExit"),
        ("embed", "RuntimeError"),
        ("cluster", "MemoryError"),
        ("synthesise", "KeyboardInterrupt"),
        ("write", "RuntimeError"),
        ("pack", "RuntimeError"),
    ],
)
def test_what_raises_in_a_stage_fails_what_is_in_it(
    faulty: RunningServer, faults: Faults, stage: str, error: str
) -> None:
    recording = noise(0.5)
    faults.set(fail={stage: error})
    try:
        problem = problem_of(post(faulty, recording), 500, "internal")
        assert "on purpose" not in json.dumps(problem)
        assert faulty.http.get("/readyz").status_code == 200
    finally:
        faults.set()
    well(faulty, recording)


@pytest.mark.parametrize("stage", ["decode", "embed", "write", "settle"])
def test_what_raises_in_a_job_fails_it_and_the_next_is_done(faulty: RunningServer, faults: Faults, stage: str) -> None:
    fails_its_job_alone(faulty, faults, stage)


def fails_its_job_alone(faulty: RunningServer, faults: Faults, stage: str) -> None:
    """Also for servers of another kind, see test_kinds.py."""
    faults.set(fail={stage: "RuntimeError"})
    try:
        location = submit(faulty, noise(0.5)).headers["location"]
        assert wait(faulty, location, "failed")["problem"]["code"] == "internal"
    finally:
        faults.set()
    wait(faulty, submit(faulty, noise(0.5)).headers["location"], "done")


@pytest.mark.parametrize(
    ("stage", "error"), [("claim", "RuntimeError"), ("claim", "full disk"), ("finish", "full disk")]
)
def test_a_store_that_fails_for_a_while_loses_no_job(
    faulty: RunningServer, faults: Faults, stage: str, error: str
) -> None:
    loses_no_job(faulty, faults, stage, error)


def loses_no_job(faulty: RunningServer, faults: Faults, stage: str, error: str) -> None:
    """Also for servers of another kind."""
    told = faulty.log.stat().st_size
    faults.set(fail={stage: error})
    try:
        location = submit(faulty, noise(0.5)).headers["location"]
        give_up = time.monotonic() + 60
        while "trying again" not in faulty.log.read_text()[told:]:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert faulty.http.get(location).json()["state"] in ("queued", "running")
    finally:
        faults.set()
    wait(faulty, location, "done")
    assert faulty.http.get(location + "/result").status_code == 200


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_jumps_ends_and_deletes_nothing(faulty: RunningServer, faults: Faults, years: int) -> None:
    finished = submit(faulty, noise(0.5)).headers["location"]
    wait(faulty, finished, "done")
    running = submit(faulty, noise(20), num_sources=8).headers["location"]
    wait(faulty, running, "running", "done")
    faults.set(clock_s=years * 365 * 86_400)
    try:
        assert post(faulty, noise(0.5)).status_code == 200
        assert wait(faulty, running, "done")["expires_in_s"] > 86_000
        assert faulty.http.get(finished).json()["expires_in_s"] > 86_000
        well(faulty, noise(0.5))
    finally:
        faults.set()


def test_a_clock_that_jumps_for_the_whole_process(start_server: StartServer, tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    server = start_server(
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    location = submit(server, noise(20)).headers["location"]
    this_year = time.gmtime().tm_year
    for years in (9, -9, 0):
        clock.write_text(f"{years:+}y")
        give_up = time.monotonic() + 30
        while abs(year(server) - this_year - years) > 1:
            assert time.monotonic() < give_up, "the clock does not jump"
        assert post(server, noise(0.5)).status_code == 200
    assert wait(server, location, "done")["expires_in_s"] > 86_000
    well(server, noise(0.5))


def year(server: RunningServer) -> int:
    """In which the server thinks that it lives."""
    return email.utils.parsedate_to_datetime(server.http.get("/livez").headers["date"]).year


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here; it needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(directory: Path, leave: int = 0) -> Path:
    """A file that leaves so much space."""
    filler = directory / f"filler-{leave}"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while shutil.disk_usage(directory).free >= leave + size:
                    file.write(bytes(size))
    return filler


def test_a_full_disk_refuses_what_is_new_and_loses_nothing_old(start_server: StartServer, small_disk: Path) -> None:
    server = start_server(UNMINGLE_DATA_DIR=str(small_disk / "data"))
    done = submit(server, noise(0.5)).headers["location"]
    wait(server, done, "done")
    almost = fill(small_disk, leave=20 * 2**20)
    held = submit(server, noise(6, 192_000), num_sources=4).headers["location"]  # stems of 18 MB
    body = wait_for_problem(server, held)
    assert (body["state"], body["problem"]["code"]) == ("queued", "disk_full")
    full = fill(small_disk)
    problem_of(post(server, noise(1)), 507, "disk_full")
    problem_of(submit(server, noise(1)), 507, "disk_full")
    refused = server.http.get("/readyz")
    problem_of(refused, 503, "not_ready")
    assert int(refused.headers["retry-after"]) >= 1
    assert server.http.delete(done).status_code == 204  # which is what one does about full disks
    problem_of(server.http.get(done), 404, "job_unknown")
    full.unlink()
    server.kill()  # with a job on hold
    server.start()
    assert wait_for_problem(server, held)["problem"]["code"] == "disk_full"
    almost.unlink()
    wait(server, held, "done")
    assert server.http.get(held + "/result", params={"stem": 4}).status_code == 200
    well(server, noise(0.5))


def wait_for_problem(server: RunningServer, location: str) -> dict:
    give_up = time.monotonic() + 60
    while (body := server.http.get(location).json())["problem"] is None:
        assert time.monotonic() < give_up, body
        time.sleep(0.1)
    return body


def test_sigterm_under_load_answers_everybody_and_keeps_the_jobs(start_server: StartServer) -> None:
    server = start_server()

    def send(number: int) -> int:
        try:
            with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
                return client.post("/separate", files={"file": noise(3)}).status_code
        except httpx.ConnectError:
            return 0  # it came too late: nobody listens any more

    jobs = [submit(server, noise(length)).headers["location"] for length in (20, 1)]
    whole = request_bytes(noise(0.5)).replace(b"Host: localhost", b"Host: localhost\r\nConnection: close", 1)
    uploading = connect(server)
    uploading.sendall(whole[:-100])
    server.wait_for(lambda _: bool(server.spooled()))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(send, number) for number in range(6)]
        server.wait_for(separating)
        server.terminate()
        late = [pool.submit(send, number) for number in range(20)]
        uploading.sendall(whole[-100:])
        answers = [future.result() for future in begun]
        assert set(answers) <= {200, 503}
        assert 200 in answers
        assert {future.result() for future in late} <= {200, 503, 0}
    uploading.settimeout(120)
    assert uploading.recv(100).startswith(b"HTTP/1.1 200 ")
    uploading.close()
    assert server.process.wait(timeout=40) == 0
    server.start()
    for location in jobs:
        wait(server, location, "done")


def test_a_client_that_stalls_is_given_up(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_CLIENT_TIMEOUT_S="20", UNMINGLE_MAX_UPLOADS="1")
    with connect(server) as client:
        client.sendall(request_bytes(noise(1), announced=1_000_000))
        server.wait_for(lambda _: bool(server.spooled()))
        refused = post(server, noise(1))  # the only place is taken, by one that has only just begun
        assert problem_of(refused, 503, "server_full")["limit"] == 1
        assert int(refused.headers["retry-after"]) >= 1
        client.settimeout(60)
        answer = b""
        while more := client.recv(65536):
            answer += more
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert b"upload_stalled" in answer
    well(server, noise(1))


def test_a_client_that_leaves_while_it_sends_a_job_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    with connect(server) as client:
        client.sendall(request_bytes(noise(1), announced=10_000_000).replace(b"/separate?", b"/jobs?", 1))
        server.wait_for(lambda _: bool(server.spooled()))
    server.wait_for(lambda _: not server.spooled(), within_s=10)
    assert kept(server) == []
    long = submit(server, noise(300), num_sources=8).headers["location"]
    with connect(server) as client:
        client.sendall(f"GET {long}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(1000)
    assert server.http.delete(long).status_code == 204
    well(server, noise(0.5))
