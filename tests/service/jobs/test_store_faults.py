"""jobs.sqlite removed, damaged, locked, or of another version: nothing is lost in silence, and readiness tells."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.service.harness import ROOT, RunningServer, StartServer, noise, post, problem_of
from tests.service.jobs.test_jobs import submit, wait
from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.store import JobStore

pytestmark = pytest.mark.slow


def refused_start(server: RunningServer) -> str:
    """What a server says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "unmingle", "serve", "--port", "0"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def becomes(server: RunningServer, path: str, status: int) -> dict:
    give_up = time.monotonic() + 60
    while (answer := server.http.get(path)).status_code != status:
        assert time.monotonic() < give_up, f"{path} stays {answer.status_code}"
        time.sleep(0.1)
    return answer.json() if answer.headers["content-type"].endswith("json") else {}


def test_a_table_that_is_gone_damaged_or_new_loses_no_file(start_small: StartServer) -> None:
    server = start_small()
    data = server.directory / "data"
    location = submit(server, noise(0.5)).headers["location"]
    wait(server, location, "done")
    # Removed while it runs: that shows.
    stored = {name: (data / name).read_bytes() for name in ("jobs.sqlite", "jobs.sqlite-wal") if (data / name).exists()}
    (data / "jobs.sqlite").unlink()
    assert "removed" in becomes(server, "/readyz", 503)["detail"]
    assert "removed" in becomes(server, "/health", 503)["jobs"]
    problem_of(submit(server, noise(0.5)), 503, "not_ready")
    server.kill()
    # Gone at the start: the files are set aside, and the log says where.
    for left in data.glob("jobs.sqlite*"):
        left.unlink()
    server.start()
    becomes(server, "/readyz", 200)
    aside = data / "set-aside" / location.rsplit("/", maxsplit=1)[-1]
    assert sorted(path.name for path in (aside / "stems").iterdir())
    assert "set-aside" in server.log.read_text()
    server.kill()
    # Garbage, or of a newer version: no start, and no change.
    for content in (b"no database" * 1000, None):
        for left in data.glob("jobs.sqlite*"):
            left.unlink()
        if content:
            (data / "jobs.sqlite").write_bytes(content)
        else:
            for name, kept in stored.items():
                (data / name).write_bytes(kept)
            with sqlite3.connect(data / "jobs.sqlite") as connection:
                connection.execute("PRAGMA user_version = 99")
            connection.close()
        assert "jobs.sqlite" in refused_start(server)
    assert aside.exists()


def test_a_locked_table_is_503_and_not_for_ever(start_small: StartServer) -> None:
    server = start_small()
    other = sqlite3.connect(server.directory / "data" / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        refused = submit(server, noise(0.5))
        problem_of(refused, 503, "not_ready")
        assert int(refused.headers["retry-after"]) >= 1
    finally:
        other.execute("ROLLBACK")
        other.close()
    becomes(server, "/readyz", 200)
    wait(server, submit(server, noise(0.5)).headers["location"], "done")


def test_a_table_of_the_first_servers_is_taken_over(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    store.add("a", "alice", "{}", "f", None, 1.0)
    store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    store = JobStore(tmp_path / "jobs.sqlite")
    assert not store.is_new
    assert [job.id for job in store.all()] == ["a"]
    store.close()


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id TEXT, what TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('1', 'mine')")
    connection.close()
    with pytest.raises(JobStoreError, match="has no columns"):
        JobStore(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM jobs").fetchall() == [("1", "mine")]
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()


def test_damaged_stems_are_the_servers_fault(start_small: StartServer) -> None:
    server = start_small()
    location = submit(server, noise(0.5)).headers["location"]
    wait(server, location, "done")
    directory = server.directory / "data" / "jobs" / location.rsplit("/", maxsplit=1)[-1]
    (directory / "stems" / "manifest.json").write_text('{"name": 1}')
    for path in ("/manifest", "/result"):
        problem_of(server.http.get(location + path), 500, "internal")
    assert server.http.delete(location).status_code == 204
    assert not directory.exists()
    assert post(server, noise(0.5)).status_code == 200
