"""One server with its files in a shared directory: what is there and when, and what happens while it is away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.service.harness import RunningServer, StartServer, noise, problem_of
from tests.service.jobs.test_jobs import submit, wait
from tests.service.jobs.test_refused_starts import refused
from tests.service.jobs.test_store_faults import becomes

pytestmark = pytest.mark.slow

WITHIN_S = 120


def test_one_server_may_keep_its_files_in_a_store(start_small: StartServer, tmp_path: Path) -> None:
    store = tmp_path / "store"
    server = start_small(UNMINGLE_STORE_URL=f"file://{store}")
    first = submit(server, noise(1)).headers["location"]
    wait(server, first, "done")
    name = first.rsplit("/", maxsplit=1)[-1]
    give_up = time.monotonic() + WITHIN_S
    while [path.name for path in (store / name).iterdir()] != ["run-1"]:  # the upload goes after the job is done
        assert time.monotonic() < give_up
        time.sleep(0.05)
    server.kill()
    said = refused(server.directory / "data")
    assert f"have their files in file://{store}" in said
    server.start()
    result = server.http.get(first + "/result")
    assert result.status_code == 200
    assert {path.name for path in (store / name / "run-1").iterdir()} >= {"manifest.json", "stem_1.wav", "stem_2.wav"}
    assert server.http.delete(first).status_code == 204
    assert not (store / name).exists()


def waits(server: RunningServer, location: str) -> dict:
    """The job, once it waits for its files."""
    give_up = time.monotonic() + WITHIN_S
    while not (job := server.http.get(location).json())["problem"]:
        assert time.monotonic() < give_up, job
        time.sleep(0.05)
    return job


def test_while_the_store_is_away_jobs_wait_and_clients_are_told(start_small: StartServer, tmp_path: Path) -> None:
    store, away = tmp_path / "store", tmp_path / "away"
    server = start_small(UNMINGLE_STORE_URL=f"file://{store}")
    location = submit(server, noise(60), num_sources=4).headers["location"]
    wait(server, location, "running", "done")
    store.rename(away)
    held = waits(server, location)
    assert (held["state"], held["problem"]["code"]) == ("queued", "not_ready")
    refused_now = submit(server, noise(1))
    problem_of(refused_now, 503, "not_ready")
    assert int(refused_now.headers["retry-after"]) >= 1
    assert "is not there any more" in becomes(server, "/readyz", 503)["detail"]
    assert "is not there any more" in server.http.get("/health").json()["jobs"]
    assert server.http.post("/separate", files={"file": noise(0.5)}).status_code == 200
    assert not store.exists(), "nothing was written where the store is not"
    away.rename(store)
    becomes(server, "/readyz", 200)
    assert wait(server, location, "done")["problem"] is None
    assert server.http.get(location + "/result").status_code == 200
