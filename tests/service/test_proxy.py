"""Behind the real nginx, with the settings that docs/deployment.md gives."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.harness import ROOT, RunningServer, free_port, noise
from tests.service.jobs.test_jobs import submit, wait


@pytest.fixture(scope="module")
def proxy(small_server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """nginx in front of the server."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    directory, port = tmp_path_factory.mktemp("nginx"), free_port()
    page = (ROOT / "docs" / "deployment.md").read_text()
    (server,) = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(
        "127.0.0.1:8000", f"127.0.0.1:{small_server.port}"
    )
    server = re.sub(r"^\s*ssl_\w+ .*\n", "", server, flags=re.MULTILINE)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{server}\n}}\n"
    )
    process = subprocess.Popen([program, "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            give_up = time.monotonic() + 30
            while True:
                try:
                    client.get("/livez").raise_for_status()
                    break
                except httpx.HTTPError as error:
                    log = Path(directory / "error.log")
                    assert time.monotonic() < give_up, f"{error}: {log.read_text() if log.exists() else ''}"
                    time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_uploads_of_more_than_a_megabyte_pass(proxy: httpx.Client) -> None:
    answer = proxy.post("/separate", files={"file": noise(60)})  # 1.9 MB
    assert answer.status_code == 200
    assert len(answer.content) > 4_000_000


def test_events_pass_as_they_come(proxy: httpx.Client, small_server: RunningServer) -> None:
    long = submit(small_server, noise(1200), num_sources=8).headers["location"]
    waiting = submit(small_server, noise(0.5)).headers["location"]
    with proxy.stream("GET", waiting + "/events") as events:
        lines = events.iter_lines()
        began = time.monotonic()
        assert next(lines).startswith("event: status")
        assert time.monotonic() - began < 10
        assert '"state":"queued"' in next(lines)
        small_server.http.delete(long)
        seen = "".join(lines)
    assert '"state":"done"' in seen


def test_ranges_and_refusals_pass(proxy: httpx.Client, small_server: RunningServer) -> None:
    location = submit(small_server, noise(0.5)).headers["location"]
    wait(small_server, location, "done")
    part = proxy.get(location + "/result", headers={"range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    refused = proxy.post("/separate", files={"file": b"x" * 2_000_000})
    assert (refused.status_code, refused.json()["code"]) == (415, "format_unsupported")
