"""Decoders of the real server: what they are given and what they may, and that nothing of them outlives it."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.service.harness import (
    RunningServer,
    StartServer,
    children_of,
    decoders_of,
    fork_servers_of,
    noise,
    post,
    problem_of,
    read,
)
from tests.service.jobs.test_jobs import kept, submit
from unmingle.service.decoding import confinement
from unmingle.service.http.auth import hashed

pytestmark = pytest.mark.slow

GIVE_UP_S = 60.0
ALICE = {"authorization": "Bearer a"}


def decoder_at_work(server: RunningServer) -> int:
    """A decoder that is in the middle of a job's upload, and stands still there."""
    give_up = time.monotonic() + GIVE_UP_S
    while True:
        assert time.monotonic() < give_up
        location = submit(server, noise(600), credentials=ALICE).headers["location"]
        while server.http.get(location, headers=ALICE).json()["progress"] == 0:
            if not decoded_bytes(server):
                continue
            for child in decoders_of(server.process.pid):
                os.kill(child, signal.SIGSTOP)
                if read(child, "stat").split()[2:3] not in ([], [b"Z"]):
                    return child
        server.http.delete(location, headers=ALICE)  # it was too fast for us


def decoded_bytes(server: RunningServer) -> int:
    try:
        return sum((job / "decoded").stat().st_size for job in kept(server))
    except FileNotFoundError:  # not yet, or not any more
        return 0


def test_a_decoder_has_no_secrets_and_limits_and_ends_with_the_server(start_server: StartServer) -> None:
    server = start_server(
        UNMINGLE_API_KEYS=f"alice={hashed('a')}",
        UNMINGLE_KEY_REQUESTS_PER_MINUTE="1e6",  # who watches a job closely asks often
        UNMINGLE_DECODE_MEMORY_BYTES=str(600 * 2**20),
        UNMINGLE_JOB_DECODE_TIMEOUT_S="77",
        A_SECRET_OF_OTHERS="secret",
    )
    decoder = decoder_at_work(server)
    variables = {line.partition(b"=")[0] for line in read(decoder, "environ").split(b"\0") if line}
    assert variables <= {b"PATH", b"LD_LIBRARY_PATH"}
    limits = dict(re.findall(r"^Max (.+?) {2,}(\d+|unlimited)", read(decoder, "limits").decode(), re.MULTILINE))
    assert limits["address space"] == str(600 * 2**20)
    assert limits["cpu time"] == "77"
    assert limits["core file size"] == "0"
    assert int(limits["open files"]) <= 16
    assert limits["file size"] != "unlimited"
    status = read(decoder, "status")
    assert re.search(rb"^NoNewPrivs:\s1$", status, re.MULTILINE)
    assert (b"\nSeccomp:\t2\n" in status) == ("seccomp" in confinement.in_force())
    files = {os.readlink(entry) for entry in Path(f"/proc/{decoder}/fd").iterdir()}
    assert {Path(file).name for file in files if file.startswith("/")} <= {"null", "upload", "decoded"}
    processes = [*children_of(server.process.pid), decoder]
    server.kill()
    give_up = time.monotonic() + GIVE_UP_S
    while any(read(process, "cmdline") for process in processes):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_job_that_stands_still_holds_up_no_request_and_they_share_a_fork_server(start_server: StartServer) -> None:
    server = start_server(
        UNMINGLE_API_KEYS=f"alice={hashed('a')}",
        UNMINGLE_DECODERS="1",
        UNMINGLE_KEY_REQUESTS_PER_MINUTE="1e6",  # as above
    )
    decoder = decoder_at_work(server)
    [fork_server] = fork_servers_of(server.process.pid)
    answer = server.http.post("/separate", files={"file": noise(1)}, headers=ALICE)
    assert answer.status_code == 200
    assert fork_servers_of(server.process.pid) == [fork_server]
    assert decoders_of(server.process.pid) == [decoder]
    [job] = kept(server)
    assert server.http.delete(f"/jobs/{job.name}", headers=ALICE).status_code == 204
    assert decoders_of(server.process.pid) == []
    assert fork_servers_of(server.process.pid) == [fork_server]


def test_a_deadline_that_passes_while_a_request_waits_for_a_decoder(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_DECODERS="1", UNMINGLE_REQUEST_TIMEOUT_S="4")
    give_up = time.monotonic() + GIVE_UP_S
    while not (fork_servers := fork_servers_of(server.process.pid)):
        assert time.monotonic() < give_up
    os.kill(fork_servers[0], signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        has_it = pool.submit(post, server, noise(0.3))
        server.wait_for(lambda _: any((request / "decoded").exists() for request in server.spooled()))
        late = post(server, noise(0.3))
        # It takes longer to see that the fork server does not answer.
        assert not has_it.done()
        assert problem_of(late, 503, "deadline_exceeded")["limit"] == 4
        assert int(late.headers["retry-after"]) >= 1
        problem_of(has_it.result(), 503, "deadline_exceeded")
    while post(server, noise(0.3)).status_code != 200:
        assert time.monotonic() < give_up
