"""The OpenAPI document is true: whatever is sent that it allows or forbids, the answer is one that it foresees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service import schemathesis_run
from tests.service.harness import RunningServer, StartServer, problem_of
from unmingle.service import schemas

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
    schemathesis_run.finds_nothing(start_server(**schemathesis_run.SETTINGS), tmp_path, 8)


def test_a_method_that_an_address_does_not_take_is_told_all_that_it_does(server: RunningServer) -> None:
    response = server.http.put("/jobs/x")
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD"
