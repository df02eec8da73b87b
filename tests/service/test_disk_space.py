"""Whatever lies on the server's disk is under a limit, whether it was announced or not."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
from collections.abc import Iterator

import pytest

from tests.service.harness import RunningServer, StartServer, noise, post, problem_of
from tests.service.jobs.test_jobs import kept, submit, wait
from tests.service.test_slow_clients import held, wait_for_held

pytestmark = pytest.mark.slow

CAP = 5_000_000


def in_chunks(content: bytes) -> Iterator[bytes]:
    yield b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]
    yield b"\r\n--xyz--\r\n"


def send_unannounced(server: RunningServer, path: str, content: bytes) -> int:
    """The status of an upload that does not say how long it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
        connection.request("POST", path, in_chunks(content), headers, encode_chunked=True)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        return 0  # closed while it was still sent
    finally:
        connection.close()


def uploads_on_disk(server: RunningServer) -> int:
    """Bytes of all uploads, where they arrive and where jobs keep them."""
    sizes = {}
    for parent, _, names in os.walk(server.directory / "data"):  # which forgives what is deleted meanwhile
        if "upload" in names:
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(os.path.join(parent, "upload"))
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def test_uploads_of_no_announced_length_stay_under_the_cap(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_MAX_DISK_BYTES=str(CAP), UNMINGLE_MAX_SPOOL_BYTES=str(CAP))
    content = noise(120)  # 3.8 MB: one fits, two do not
    most = 0
    for path in ("/jobs", "/separate"):
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            sent = [pool.submit(send_unannounced, server, path, content) for _ in range(6)]
            while not all(future.done() for future in sent):
                most = max(most, uploads_on_disk(server))
            statuses = [future.result() for future in sent]
        assert set(statuses) <= {0, 200, 202, 507}
        assert 507 in statuses or 0 in statuses
        for job in kept(server):
            server.http.delete(f"/jobs/{job.name}")
    assert 0 < most <= CAP
    wait_for_held(server, "spool_bytes", 0)
    wait_for_held(server, "job_bytes", 0)


def test_stems_of_requests_are_under_the_cap_too(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_MAX_SPOOL_BYTES="2000000")
    problem_of(post(server, noise(10), num_sources=8), 507, "disk_full")  # 640 KB each
    assert post(server, noise(2), num_sources=2).status_code == 200


def test_a_zip_takes_no_space_of_its_own(start_small: StartServer) -> None:
    server = start_small()
    location = submit(server, noise(10), num_sources=2).headers["location"]
    wait(server, location, "done")
    before = held(server, "job_bytes")
    assert server.http.get(location + "/result").headers["content-type"] == "application/zip"
    assert held(server, "job_bytes") == before
    assert [
        path.name
        for path in (server.directory / "data" / "jobs" / location.rsplit("/")[-1]).iterdir()
        if not path.name.startswith("package")
    ] == ["stems"]
    assert server.http.get(location + "/result", params={"format": "flac"}).status_code == 200
    assert held(server, "job_bytes") > before  # which had to be converted
    server.http.delete(location)
    wait_for_held(server, "job_bytes", 0)  # what was sent last is let go of after its last byte
