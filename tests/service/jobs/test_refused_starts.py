"""A database or a store that cannot be used, or not together: the server does not start, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fsspec  # noqa: F401 (and its list of what is loaded)
import pytest

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import ROOT, StartServer, free_port, noise
from tests.service.jobs.test_jobs import submit, wait
from tests.service.services import Postgresql
from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.store import JobStore
from unmingle.service.store.objects import ObjectStore, StoreError


def unmingle(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNMINGLE_")}
    environment |= {"PYTHONPATH": str(ROOT), "UNMINGLE_MODEL": str(SMALL_MODEL), **settings}
    command = [sys.executable, "-m", "unmingle", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def refused(data: Path, **settings: str) -> str:
    """What a server says that does not start."""
    done = unmingle("serve", "--port", "0", UNMINGLE_DATA_DIR=str(data), **settings)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("jobs.sqlite", r"no URL of a database; expected postgresql://"),
        ("mysql://alice:secret@host/jobs", r"of the kind 'mysql'; expected postgresql://"),
        ("sqlite://", r"of the kind 'sqlite'; expected postgresql://"),
        ("postgresql://alice:secret@127.0.0.1:{port}/jobs", r"alice:\*\*\*@127.0.0.1:\d+/jobs cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url: str, says: str) -> None:
    with pytest.raises(JobStoreError, match=says) as raised:
        JobStore(url.format(port=free_port()))
    assert "secret" not in str(raised.value)
    assert "UNMINGLE_DATABASE_URL" in str(raised.value)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("psycopg", "s3fs", "fsspec.core"):
        monkeypatch.setitem(sys.modules, missing, None)
        monkeypatch.delitem(vars(sys.modules["fsspec.registry"])["_registry"], "s3", raising=False)  # loaded before
        with pytest.raises((JobStoreError, StoreError), match="pip install 'unmingle") as raised:
            match missing:
                case "psycopg":
                    JobStore("postgresql://alice:secret@localhost/jobs")
                case "s3fs":
                    ObjectStore("s3://bucket/prefix")
                case _:
                    ObjectStore(f"file://{tmp_path}")
        assert "secret" not in str(raised.value)


def test_the_reason_is_told_where_the_server_is_started(tmp_path: Path) -> None:
    said = refused(tmp_path, UNMINGLE_DATABASE_URL=f"postgresql://alice:secret@127.0.0.1:{free_port()}/jobs")
    assert "Connection refused" in said
    assert "Start it" in said
    assert "secret" not in said


def test_the_password_is_not_listed() -> None:
    listed = unmingle("settings", UNMINGLE_DATABASE_URL="postgresql://alice:secret@host:5/jobs").stdout
    assert "postgresql://alice:***@host:5/jobs" in listed
    assert "secret" not in listed


@pytest.mark.slow
@pytest.mark.services
def test_a_database_belongs_to_one_place_for_files(
    start_small: StartServer, postgresql: Postgresql, tmp_path: Path
) -> None:
    database = postgresql.database()
    server = start_small(UNMINGLE_DATABASE_URL=database)
    location = submit(server, noise(1)).headers["location"]
    wait(server, location, "done")
    server.kill()  # its data directory is the one that has the files, also after a crash and at once
    server.start()
    assert server.http.get(location + "/result").status_code == 200
    server.kill()
    said = refused(tmp_path / "another", UNMINGLE_DATABASE_URL=database, UNMINGLE_STORE_URL=f"file://{tmp_path / 'x'}")
    assert "the data directory with the id" in said
    assert "Set UNMINGLE_STORE_URL" in said
    # Nor do its files belong to no job where the database is forgotten for once.
    del server.environment["UNMINGLE_DATABASE_URL"]
    server.start()
    assert server.http.get(location).status_code == 404
    assert (server.directory / "data" / "set-aside" / location.rsplit("/", maxsplit=1)[-1] / "stems").is_dir()
