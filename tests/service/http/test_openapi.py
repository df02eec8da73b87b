"""The OpenAPI document is true: whatever is sent that it allows or forbids, the answer is one that it foresees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.harness import ROOT, RunningServer, StartServer, problem_of
from unmingle.service import schemas
from unmingle.service.http.auth import hashed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def document(server: RunningServer) -> dict:
    return server.http.get("/openapi.json").json()


def responses(document: dict) -> list[tuple[str, str, dict]]:
    return [
        (f"{method} {path}", status, response)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, response in operation["responses"].items()
    ]


def test_every_status_has_an_example_that_its_schema_allows(document: dict) -> None:
    for call, status, response in responses(document):
        content = response.get("content", {})
        examples = {
            kind: [media["example"]] if "example" in media else [e["value"] for e in media.get("examples", {}).values()]
            for kind, media in content.items()
        }
        assert status in ("204", "304") or any(examples.values()), (call, status)
        for kind, given in examples.items():
            if reference := content[kind]["schema"].get("$ref"):
                body = getattr(schemas, reference.rpartition("/")[2])
                for example in given:
                    body.model_validate(example)


def test_every_problem_is_an_example_of_its_status(document: dict) -> None:
    from unmingle.service.problems import KINDS

    told = {
        code
        for _, _, response in responses(document)
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert set(KINDS) - told == {"method_not_allowed", "host_unknown"}  # they belong to no operation


def test_schemathesis_finds_nothing(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(
        UNMINGLE_API_KEYS=f"alice={hashed('sesame')}",
        UNMINGLE_KEY_REQUESTS_PER_MINUTE="1000000",
        UNMINGLE_KEY_RECORDINGS="1000",
        UNMINGLE_MAX_JOBS="100000",
    )
    options = ["--max-examples", "8", "--seed", "1", "--continue-on-failure", "--no-color"]
    # That a body is valid does not make it a recording: most are refused, and rightly.
    options += ["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", *options]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-H", "Authorization: Bearer sesame"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "25 selected / 25 total" in done.stdout
    answered = re.findall(r"(?:GET|POST|DELETE) (\S+) (\d+)", server.log.read_text())
    for wanted in (("/separate", "200"), ("/jobs", "202"), ("/jobs/{job_id}/result", "200"), ("/jobs/{job_id}", "204")):
        assert wanted in answered, f"{wanted} never happened"
    assert "Traceback" not in server.log.read_text()


def test_a_method_that_an_address_does_not_take_is_told_all_that_it_does(server: RunningServer) -> None:
    response = server.http.put("/jobs/x")
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD"
