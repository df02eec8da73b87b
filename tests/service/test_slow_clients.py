"""Clients that send or take slowly: honest ones are served, and none keeps others out."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.harness import RunningServer, StartServer, connect, noise, post, problem_of, request_bytes, unpack
from unmingle.service.http.auth import hashed

pytestmark = pytest.mark.slow

HOLD_S = 6.0
"""Longer than an upload counts as one that has only just begun."""


def held(server: RunningServer, resource: str) -> float:
    lines = server.http.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith(f'unmingle_held{{resource="{resource}"}}')]
    return float(line.split()[1])


def wait_for_held(server: RunningServer, resource: str, wanted: float, within_s: float = 60) -> None:
    give_up = time.monotonic() + within_s
    while (found := held(server, resource)) != wanted:
        assert time.monotonic() < give_up, f"{resource}: {found} are held, not {wanted}"
        time.sleep(0.1)


def open_upload(server: RunningServer, path: bytes = b"/separate?") -> socket.socket:
    """An upload that has begun and does not go on."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    client.sendall(request_bytes(noise(0.1), announced=1_000_000).replace(b"/separate?", path, 1))
    return client


@pytest.mark.parametrize("path", [b"/separate?", b"/jobs?"])
def test_slow_uploads_keep_nobody_out(start_small: StartServer, path: bytes) -> None:
    server = start_small(
        UNMINGLE_MAX_REQUESTS="4",
        UNMINGLE_MAX_UPLOADS="4",
        UNMINGLE_MAX_JOB_UPLOADS="4",
        UNMINGLE_CLIENT_MIN_BYTES_PER_S="1",  # they are slow enough to give way, and not to be given up
    )
    slow = [open_upload(server, path) for _ in range(4)]
    wait_for_held(server, "uploads" if path == b"/separate?" else "job_uploads", 4)
    time.sleep(HOLD_S)
    assert server.http.get("/readyz").status_code == 200
    honest = post(server, noise(0.5))
    assert honest.status_code == 200
    answers = []
    for client in slow:
        client.settimeout(0.5)
        try:
            answers.append(client.recv(65536))
        except TimeoutError:
            answers.append(b"")
        client.close()
    # At most one had to make room, and was told so; the others are still there.
    displaced = [answer for answer in answers if answer]
    assert len(displaced) == (1 if path == b"/separate?" else 0)
    assert all(b" 503 " in answer and b"server_full" in answer for answer in displaced)


def test_a_trickle_is_given_up_soon(start_small: StartServer) -> None:
    server = start_small()
    began = time.monotonic()
    with open_upload(server) as client:
        client.settimeout(1.0)
        answer = b""
        while not answer and time.monotonic() - began < 90:
            client.sendall(b"x" * 1100)
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
        while part := client.recv(65536):  # head and body may come apart
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"upload_stalled" in answer
    assert time.monotonic() - began < 60


def test_a_key_holds_its_recordings_until_the_answers_are_taken(start_small: StartServer) -> None:
    keys = f"alice={hashed('a')},bob={hashed('b')}"
    server = start_small(UNMINGLE_API_KEYS=keys, UNMINGLE_KEY_RECORDINGS="1")
    alice, bob = ({"authorization": f"Bearer {key}"} for key in "ab")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        request = request_bytes(noise(2, 96_000))  # eight stems of 768 KB
        client.sendall(request.replace(b"Host: localhost", b"Host: localhost\r\nAuthorization: Bearer a", 1))
        wait_for_held(server, "answers", 1)
        assert held(server, "requests") == 0  # nothing is in work any more
        assert held(server, "spool_bytes") > 6_000_000
        refused = server.http.post("/separate", files={"file": noise(0.5)}, headers=alice)
        problem_of(refused, 429, "key_busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.http.post("/separate", files={"file": noise(0.5)}, headers=bob).status_code == 200
    wait_for_held(server, "recordings", 0)
    assert held(server, "spool_bytes") == 0
    assert server.http.post("/separate", files={"file": noise(0.5)}, headers=alice).status_code == 200


def test_a_slow_steady_client_gets_its_whole_answer(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_CLIENT_TIMEOUT_S="4", UNMINGLE_CLIENT_MIN_BYTES_PER_S="8192")
    with socket.socket() as client:
        client.settimeout(30)
        client.connect(("127.0.0.1", server.port))
        request = request_bytes(noise(2, 48_000))  # eight stems of 384 KB
        client.sendall(request.replace(b"Host: localhost", b"Host: localhost\r\nConnection: close", 1))
        first = client.recv(16_384)
        head, _, body = first.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        wanted = int(next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split()[1])
        received, began = len(body), time.monotonic()
        while time.monotonic() - began < 20:  # 64 KiB a second, for five times the longest silence
            received += len(client.recv(16_384))
            time.sleep(0.25)
        while more := client.recv(65_536):
            received += len(more)
    assert received == wanted
    assert "POST /separate 200" in server.log.read_text()


def test_an_answer_that_is_not_taken_is_given_up_and_logged_so(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_CLIENT_TIMEOUT_S="3")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(request_bytes(noise(2, 96_000)))
        wait_for_held(server, "answers", 1)
        wait_for_held(server, "answers", 0, within_s=30)
    log = server.log.read_text()
    assert "POST /separate 499" in log
    assert "POST /separate 200" not in log
    assert "Traceback" not in log


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process, and what it starts, may have thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4000:
        pytest.skip(f"a process may have {hard} files open here, and 4000 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.usefixtures("many_files")
def test_1500_idle_and_slow_connections_keep_nobody_out_and_are_closed(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_CLIENT_TIMEOUT_S="40", UNMINGLE_MAX_REQUESTS="128")
    unpack(post(server, noise(0.5)))
    files, memory = open_files(server), server.resident_bytes()
    uploading = [open_upload(server) for _ in range(100)]
    wait_for_held(server, "uploads", 100)
    silent = [connect(server) for _ in range(1400)]
    for client in silent[:400]:
        client.sendall(b"GET /livez HT")
    assert server.http.get("/readyz").status_code == 200
    for _ in range(3):
        manifest, stems = unpack(post(server, noise(0.5)))
        assert [stem.shape for stem in stems] == [(1, manifest["samples"])] * len(manifest["stems"])
    assert open_files(server) >= files + 1500
    assert server.resident_bytes() - memory < 100 * 2**20
    assert {client.recv(1000) for client in silent} == {b""}
    assert {client.recv(12) for client in uploading} == {b"HTTP/1.1 408"}
    for client in (*silent, *uploading):
        client.close()
    server.wait_for(lambda _: open_files(server) <= files + 5)
    assert held(server, "uploads") == held(server, "spool_bytes") == 0
