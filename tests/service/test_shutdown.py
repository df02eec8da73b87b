"""The end of the server: within its grace, with an answer for everybody, and nothing lost."""

from __future__ import annotations

import concurrent.futures
import time

import pytest

from tests.service.harness import StartServer, connect, noise, post, problem_of, request_bytes, separating
from tests.service.jobs.test_jobs import submit, wait

pytestmark = pytest.mark.slow

GRACE_S = 3
LONGER_S = 12
"""What stopping may take besides, on a machine that is busy with others."""


def test_after_the_grace_everybody_is_told_and_it_ends(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_GRACE_S=str(GRACE_S), UNMINGLE_MAX_SECONDS="3600")
    job = submit(server, noise(1200), num_sources=8).headers["location"]
    with concurrent.futures.ThreadPoolExecutor() as pool, connect(server) as uploading:
        working = pool.submit(post, server, noise(1500), num_sources=8)
        server.wait_for(separating)
        uploading.sendall(request_bytes(noise(1), announced=10_000_000))
        began = time.monotonic()
        server.terminate()
        problem = problem_of(working.result(), 503, "not_ready")
        assert "ends" in problem["detail"]
        uploading.settimeout(30)
        assert uploading.recv(65_536).startswith(b"HTTP/1.1 503 ")
    assert server.process.wait(timeout=60) == 0
    assert GRACE_S <= time.monotonic() - began < GRACE_S + LONGER_S
    assert "Traceback" not in server.log.read_text()
    assert not (server.directory / "data" / "spool").exists()
    server.start()
    wait(server, job, "queued", "running")
    assert server.http.delete(job).status_code == 204


def test_packing_that_nobody_wants_ends(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_GRACE_S="30", UNMINGLE_JOB_MAX_SECONDS="7200")
    location = submit(server, noise(240), num_sources=2).headers["location"]
    wait(server, location, "done", within_s=400)
    short = submit(server, noise(0.5)).headers["location"]
    wait(server, short, "done")
    ask = f"GET {location}/result?format=ogg HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(2):  # as many as are packed at a time
        with connect(server) as leaving:
            leaving.sendall(ask)
            time.sleep(0.5)
    began = time.monotonic()
    assert server.http.get(short + "/result", params={"format": "flac"}).status_code == 200
    assert time.monotonic() - began < 10
    with connect(server) as waiting:
        waiting.sendall(ask)
        time.sleep(0.5)
        began = time.monotonic()
        assert server.http.delete(location).status_code == 204
        server.terminate()
        assert server.process.wait(timeout=60) == 0
    assert time.monotonic() - began < 15
    assert "Traceback" not in server.log.read_text()
