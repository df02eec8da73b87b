"""HTTP as the RFCs have it, byte by byte where that matters."""

from __future__ import annotations

import re
import socket

import httpx
import pytest

from tests.service.harness import RunningServer, StartServer, connect, noise, problem_of, request_bytes
from tests.service.jobs.test_jobs import submit, wait


@pytest.fixture(scope="module")
def result(small_server: RunningServer) -> str:
    """The address of a result."""
    location = submit(small_server, noise(0.5), num_sources=2).headers["location"]
    wait(small_server, location, "done")
    return location + "/result"


def exchange(server: RunningServer, *sent: bytes) -> bytes:
    """All that comes back until the server closes, or says no more for a while."""
    with connect(server) as client:
        client.settimeout(15)
        for part in sent:
            client.sendall(part)
        received = b""
        try:
            while more := client.recv(65_536):
                received += more
        except TimeoutError:
            pytest.fail(f"the connection stays open after {received[:500]!r}")
        return received


def test_made_up_methods_and_paths_are_no_series_of_their_own(small_server: RunningServer) -> None:
    def series() -> int:
        return len(re.findall(r"^unmingle_requests_total\{", small_server.http.get("/metrics").text, re.MULTILINE))

    small_server.http.request("MX", "/health")
    small_server.http.get("/x")
    before = series()
    for number in range(50):
        small_server.http.request(f"M{number}", "/health")
        small_server.http.get(f"/x{number}")
        small_server.http.request(f"M{number}", f"/jobs/{number}")
    assert series() <= before + 2  # /jobs/{job_id} has one with `other`


def test_private_audio_is_cached_by_its_owner_only(small_server: RunningServer, result: str) -> None:
    got = small_server.http.get(result)
    assert got.headers["cache-control"] == "private, no-cache"
    again = small_server.http.get(result, headers={"if-none-match": f'"other", {got.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == got.headers["etag"]
    assert small_server.http.get(result, headers={"if-none-match": '"other"'}).content == got.content
    changed = {"range": "bytes=0-9", "if-range": '"other"'}
    assert small_server.http.get(result, headers=changed).content == got.content
    for path in ("/health", result.removesuffix("/result"), "/models"):
        assert small_server.http.get(path).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=-7", "bytes=100-", "bytes=5-99999999"])
def test_every_kind_of_range(small_server: RunningServer, result: str, asked: str) -> None:
    whole = small_server.http.get(result).content
    first, last = asked.removeprefix("bytes=").split("-")
    start = len(whole) - int(last) if not first else int(first)
    end = len(whole) if not first or not last else min(len(whole), int(last) + 1)
    part = small_server.http.get(result, headers={"range": asked})
    assert part.status_code == 206
    assert part.content == whole[start:end]
    assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"


def test_head_is_get_without_the_body(small_server: RunningServer, result: str) -> None:
    for path in ("/health", "/livez", "/readyz", "/models", "/", result, result.removesuffix("/result") + "/events"):
        head = small_server.http.head(path, timeout=10)
        assert (head.status_code, head.content) == (200, b""), path
    assert small_server.http.head(result).headers["content-length"] == str(len(small_server.http.get(result).content))
    assert "HEAD" in small_server.http.put("/health").headers["allow"]


def test_too_much_is_refused_before_it_is_asked_for(small_server: RunningServer) -> None:
    head = request_bytes(b"", announced=10**12).partition(b"\r\n\r\n")[0]
    answer = exchange(small_server, head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_wrong_type_is_told_before_all_of_it_is_there(small_server: RunningServer) -> None:
    head, _, body = request_bytes(b"<html>" * 100_000, announced=100_000_000).partition(b"\r\n\r\n")
    with connect(small_server) as client:
        client.settimeout(30)
        client.sendall(head + b"\r\n\r\n" + body[:300_000])
        answer = b""
        while b"format_unsupported" not in answer and (piece := client.recv(65_536)):  # head and body may come apart
            answer += piece
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"format_unsupported" in answer


def test_two_lengths_end_the_connection(small_server: RunningServer) -> None:
    head = b"POST /separate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    both = head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = exchange(small_server, both)
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "broken", [b"NONSENSE\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"]
)
def test_what_is_no_http_is_a_problem(small_server: RunningServer, broken: bytes) -> None:
    answer = exchange(small_server, broken)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b"http_malformed" in answer


def test_a_malformed_chunk_ends_the_request_and_logs_no_traceback(start_small: StartServer) -> None:
    server = start_small()
    head = request_bytes(b"").partition(b"\r\n\r\n")[0]
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    answer = exchange(server, head + b"\r\n\r\n5\r\n--xyz\r\n", b"not a number\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    server.wait_for(lambda _: not server.spooled(), within_s=30)
    assert "Traceback" not in server.log.read_text()


def test_no_redirect_says_what_the_client_called_us(small_server: RunningServer) -> None:
    for path in ("/health/", "/jobs/", "/separate/"):
        answer = small_server.http.get(path, headers={"host": "localhost"}, follow_redirects=False)
        assert answer.status_code in (404, 405)
        assert "location" not in answer.headers


def test_pages_that_may_call_may_read_everything(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_CORS_ORIGINS="https://studio.example")
    origin = {"origin": "https://studio.example", "sec-fetch-site": "cross-site"}
    refused = server.http.post("/separate", files={"file": b"x" * 100}, headers=origin)
    problem_of(refused, 415, "format_unsupported")
    assert refused.headers["access-control-allow-origin"] == "https://studio.example"
    exposed = refused.headers["access-control-expose-headers"]
    assert {"Content-Disposition", "Content-Range", "ETag", "Retry-After"} <= set(exposed.split(", "))
    preflight = server.http.options(
        "/jobs/x/result",
        headers={**origin, "access-control-request-method": "GET", "access-control-request-headers": "range"},
    )
    assert "Range" in preflight.headers["access-control-allow-headers"]
    location = submit(server, noise(0.5), credentials=origin).headers["location"]
    wait(server, location, "done")
    manifest = server.directory / "data" / "jobs" / location.rsplit("/", maxsplit=1)[-1] / "stems" / "manifest.json"
    manifest.write_text("damaged")
    failed = server.http.get(location + "/manifest", headers=origin)
    problem_of(failed, 500, "internal")
    assert failed.headers["access-control-allow-origin"] == "https://studio.example"


def test_strangers_with_the_same_idempotency_key_know_nothing_of_each_other(small_server: RunningServer) -> None:
    first = submit(small_server, noise(0.5), "monday", seed=1)
    assert submit(small_server, noise(0.5), "monday", seed=1).headers["location"] == first.headers["location"]
    other = submit(small_server, noise(0.5), "monday", seed=2)
    assert other.status_code == 202
    assert other.headers["location"] != first.headers["location"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost:1", "sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 421),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_others_may_not_send_requests(
    small_server: RunningServer, headers: dict[str, str], status: int
) -> None:
    answer = small_server.http.post("/separate", files={"file": noise(0.2)}, headers=headers)
    if status != 200:
        problem_of(answer, status, {403: "origin_forbidden", 421: "host_unknown"}[status])
    assert answer.status_code == status
    own = {"host": f"127.0.0.1:{small_server.port}", "origin": f"http://127.0.0.1:{small_server.port}"}
    assert small_server.http.post("/jobs", headers=own).status_code == 415


def test_a_server_for_others_goes_by_every_name_or_those_given(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_HOST="0.0.0.0", UNMINGLE_ALLOWED_HOSTS="studio.example, localhost")

    def ask(host: str) -> httpx.Response:
        return server.http.get("/livez", headers={"host": host})

    assert ask("studio.example").status_code == ask("localhost:1").status_code == 200
    problem_of(ask("other.example"), 421, "host_unknown")


def test_idle_connections_are_no_burden(small_server: RunningServer) -> None:
    idle = [socket.create_connection(("127.0.0.1", small_server.port), timeout=10) for _ in range(200)]
    try:
        assert small_server.http.get("/livez", timeout=10).status_code == 200
    finally:
        for client in idle:
            client.close()
