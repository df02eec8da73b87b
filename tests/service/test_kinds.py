"""What holds for a server by itself holds for one whose jobs are shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import schemathesis_run
from tests.service.conftest import SMALL_MODEL
from tests.service.harness import ROOT, Faults, RunningServer, StartServer, noise
from tests.service.jobs.test_jobs import submit, wait
from tests.service.services import S3, Postgresql
from tests.service.test_chaos import fails_its_job_alone, loses_no_job

pytestmark = [pytest.mark.slow, pytest.mark.services]

EXAMPLES = 2


@pytest.fixture(scope="module")
def shared(postgresql: Postgresql, s3: S3) -> dict[str, str]:
    """Settings of a server whose jobs are in PostgreSQL and S3."""
    place = {"UNMINGLE_DATABASE_URL": postgresql.database(), "UNMINGLE_STORE_URL": f"s3://{s3.bucket}/kinds"}
    return {"UNMINGLE_MODEL": str(SMALL_MODEL), **place, **s3.environment}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, shared: dict[str, str], faults: Faults) -> Iterator[RunningServer]:
    environment = {**shared, "UNMINGLE_TEST_FAULTS": str(faults.path)}
    command = (str(ROOT / "tests" / "service" / "faulty_server.py"),)
    running = RunningServer(tmp_path_factory.mktemp("faulty"), environment, command)
    yield running
    running.kill()


@pytest.mark.parametrize("stage", ["decode", "embed", "write"])
def test_what_raises_in_a_shared_job_fails_it_and_the_next_is_done(
    faulty: RunningServer, faults: Faults, stage: str
) -> None:
    fails_its_job_alone(faulty, faults, stage)


@pytest.mark.parametrize(
    ("stage", "error"), [("claim", "RuntimeError"), ("claim", "full disk"), ("finish", "full disk")]
)
def test_a_database_that_fails_for_a_while_loses_no_job(
    faulty: RunningServer, faults: Faults, stage: str, error: str
) -> None:
    loses_no_job(faulty, faults, stage, error)


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_jumps_on_a_server_ends_and_deletes_no_shared_job(
    faulty: RunningServer, faults: Faults, years: int
) -> None:
    """The database's clock decides."""
    kept = submit(faulty, noise(0.5)).headers["location"]
    wait(faulty, kept, "done")
    faults.set(clock_s=years * 365 * 86_400)
    try:
        wait(faulty, submit(faulty, noise(0.5)).headers["location"], "done")
        assert faulty.http.get(kept + "/result").status_code == 200
    finally:
        faults.set()


def test_schemathesis_finds_nothing_where_jobs_are_shared(
    start_server: StartServer, shared: dict[str, str], tmp_path: Path
) -> None:
    server = start_server(**shared, **schemathesis_run.SETTINGS)
    schemathesis_run.finds_nothing(server, tmp_path, EXAMPLES, "^/(jobs|separate)")
