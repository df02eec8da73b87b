"""Too much work, clients that go away, and the end of the server."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.harness import (
    StartServer,
    connect,
    decoders_of,
    encoded,
    fork_servers_of,
    idle,
    noise,
    post,
    problem_of,
    request_bytes,
    separating,
    unpack,
)

pytestmark = pytest.mark.slow


def test_a_full_server_refuses_at_once_and_says_when_to_come_back(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_MAX_QUEUED_SECONDS="30")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        accepted = pool.submit(post, server, noise(40), num_sources=4)
        server.wait_for(separating)
        refused = post(server, noise(5))
        problem_of(refused, 503, "server_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert accepted.result().status_code == 200
    assert post(server, noise(5)).status_code == 200


def test_a_key_gets_no_more_than_its_share(start_server: StartServer) -> None:
    from unmingle.service.http.auth import hashed

    server = start_server(UNMINGLE_API_KEYS=f"alice={hashed('a')},bob={hashed('b')}", UNMINGLE_KEY_RECORDINGS="1")

    def send(key: str, content: bytes) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return server.http.post("/separate", files={"file": content}, headers=headers, timeout=120)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(send, "a", noise(30))
        server.wait_for(separating)
        refused = send("a", noise(1))
        problem_of(refused, 429, "key_busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert send("b", noise(1)).status_code == 200
        assert first.result().status_code == 200


def test_a_recording_that_would_take_too_long_is_refused_before_it_starts(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_REQUEST_TIMEOUT_S="8", UNMINGLE_MAX_SECONDS="3600")
    assert "/jobs" in problem_of(post(server, noise(2000, 8_000)), 413, "recording_too_long")["detail"]


def test_a_client_that_goes_away_frees_the_server(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_WORKERS="1")
    with connect(server) as mid_separation:
        mid_separation.sendall(request_bytes(noise(300)))
        server.wait_for(separating)
        with connect(server) as mid_queue:
            mid_queue.sendall(request_bytes(noise(10)))
            server.wait_for(lambda body: body["queue"]["waiting"] == 1)
        server.wait_for(lambda body: body["queue"]["waiting"] == 0, within_s=2)
        assert separating(server.http.get("/health").json())
    server.wait_for(idle, within_s=20)
    with connect(server) as mid_upload:
        mid_upload.sendall(request_bytes(noise(1), announced=10_000_000))
        server.wait_for(lambda _: bool(server.spooled()))
    server.wait_for(lambda _: not server.spooled(), within_s=5)


def test_a_short_recording_does_not_wait_for_long_ones(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_MAX_QUEUED_SECONDS="86400")
    with connect(server) as one, connect(server) as two, connect(server) as three:
        for client in (one, two, three):
            client.sendall(request_bytes(noise(300)))
        server.wait_for(lambda body: body["queue"]["running"] == 2 and body["queue"]["waiting"] == 1)
        assert post(server, noise(2)).status_code == 200
        body = server.http.get("/health").json()
        assert (body["queue"]["running"], body["queue"]["waiting"]) == (2, 1)
    server.wait_for(idle, within_s=20)


def test_the_same_stems_whatever_runs_beside(start_small: StartServer) -> None:
    server = start_small()
    rng = np.random.default_rng(0)
    recordings = [
        encoded(rng.uniform(-level, level, 32_000).astype(np.float32), 16_000) for level in (0.5, 0.01, 0.9, 0.1)
    ]
    alone = [unpack(post(server, content))[1] for content in recordings]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        beside = list(pool.map(lambda content: unpack(post(server, content))[1], recordings * 6))
    for index, stems in enumerate(beside):
        assert all((a == b).all() for a, b in zip(stems, alone[index % 4], strict=True))
    # Ten seconds at most are one segment each, however many of them ran together.
    counted = re.findall(
        r'^unmingle_batches_total{size="(\d+)"} (\S+)$', server.http.get("/metrics").text, re.MULTILINE
    )
    assert sum(int(size) * float(calls) for size, calls in counted) == 2 + len(alone) + len(beside)


def test_on_sigterm_work_in_flight_is_finished_and_new_work_refused(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_GRACE_S="120")  # the machine may be busy with others
    with concurrent.futures.ThreadPoolExecutor() as pool:
        accepted = pool.submit(post, server, noise(40), num_sources=4)
        server.wait_for(separating)
        server.terminate()
        server.wait_for(lambda body: body["status"] == "draining")
        problem_of(server.http.get("/readyz"), 503, "not_ready")
        problem_of(post(server, noise(1)), 503, "not_ready")
        assert accepted.result().status_code == 200
    assert server.process.wait(timeout=10) == 0
    assert "Traceback" not in server.log.read_text()


def test_a_killed_server_leaves_nothing_behind(start_server: StartServer) -> None:
    server = start_server()
    with connect(server) as client:
        client.sendall(request_bytes(noise(300)))
        server.wait_for(separating)
        server.kill()
    assert server.spooled()
    server.start()
    assert not server.spooled()


def test_a_decoder_that_is_killed_fails_its_own_upload_only(start_server: StartServer, two_speakers: Path) -> None:
    server = start_server()
    give_up = time.monotonic() + 180
    children: list[int] = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        while not children:  # a decoder may be too fast for us
            sent = pool.submit(post, server, noise(300), num_sources=2)
            while not (children := decoders_of(server.process.pid)) and not sent.done():
                assert time.monotonic() < give_up
                time.sleep(0.001)
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert "takes more than" in problem_of(sent.result(), 413, "decoding_too_costly")["detail"]
    assert post(server, two_speakers.read_bytes()).status_code == 200


def test_a_decoder_that_was_killed_while_it_waited_is_replaced(start_server: StartServer) -> None:
    server = start_server()
    give_up = time.monotonic() + 60
    while not (waiting := fork_servers_of(server.process.pid)):
        assert time.monotonic() < give_up
        time.sleep(0.001)
    for child in waiting:
        os.kill(child, signal.SIGKILL)
    assert post(server, noise(1)).status_code == 200
