"""schemathesis, the command, against a running server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.service.harness import ROOT, RunningServer
from unmingle.service.http.auth import hashed

SETTINGS = {
    "UNMINGLE_API_KEYS": f"alice={hashed('sesame')}",
    "UNMINGLE_KEY_REQUESTS_PER_MINUTE": "1000000",
    "UNMINGLE_KEY_RECORDINGS": "1000",
    "UNMINGLE_MAX_JOBS": "100000",
}
"""Of a server that it may ask as often as it wants to."""
_DONE = (("/separate", "200"), ("/jobs", "202"), ("/jobs/{job_id}/result", "200"), ("/jobs/{job_id}", "204"))


def finds_nothing(server: RunningServer, folder: Path, examples: int, paths: str = "") -> None:
    """Operations are tried with so many examples of each kind, valid ones and others.

    Args:
        paths: a regular expression; by default all.
    """
    options = ["--max-examples", str(examples), "--seed", "1", "--continue-on-failure", "--no-color"]
    # That a body is valid does not make it a recording: most are refused, and rightly.
    options += ["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all"]
    options += ["--include-path-regex", paths] if paths else []
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", *options]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-H", "Authorization: Bearer sesame"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("selected / 25 total" if paths else "25 selected / 25 total") in done.stdout
    answered = re.findall(r"(?:GET|POST|DELETE) (\S+) (\d+)", server.log.read_text())
    for wanted in _DONE:
        assert wanted in answered, f"{wanted} never happened"
    assert "Traceback" not in server.log.read_text()
