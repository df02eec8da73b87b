"""docker/audit.py with the real pip-audit and a database of our own on a real socket. `make release` runs this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / ".venv" / "release" / "bin"

pytestmark = pytest.mark.skipif(not os.environ.get("RELEASE_TESTS"), reason="`make release` runs this")

SICK = {
    "id": "PYSEC-0000-1",
    "summary": "Made up for a test.",
    "affected": [
        {
            "package": {"name": "h11", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


class Database(ThreadingHTTPServer):
    """Speaks as OSV's does."""

    vulnerable = False
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.server.asked.append(name)
        body = json.dumps({"vulns": [SICK]} if self.server.vulnerable and name == "h11" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not on the test's output."""


@pytest.fixture
def database() -> Iterator[Database]:
    server = Database(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(60)
    assert not thread.is_alive()
    server.server_close()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "docker/audit.py", "--osv-url", url]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_everything_that_the_images_install_is_asked_about_and_may_be_clean(database: Database) -> None:
    done = audit(f"http://127.0.0.1:{database.server_port}/v1/query")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"numpy", "onnxruntime", "onnxruntime-gpu", "fastapi", "nvidia-cublas"} <= set(database.asked)
    assert "NOT CHECKED" not in done.stdout


def test_a_known_vulnerability_fails_with_what_mends_it(database: Database) -> None:
    database.vulnerable = True
    done = audit(f"http://127.0.0.1:{database.server_port}/v1/query")
    assert done.returncode == 1
    assert "VULNERABLE: h11" in done.stdout
    assert "PYSEC-0000-1, fixed in 99.0" in done.stdout


def test_a_database_that_cannot_be_asked_is_not_taken_for_a_clean_bill() -> None:
    done = audit("http://127.0.0.1:9/v1/query")
    assert done.returncode == 3
    assert "0 checked" in done.stdout
    assert "NOT CHECKED" in done.stdout
    assert "numpy" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
