"""Tables of earlier versions are taken over without losing a job; those of others and of the future are left alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect

from tests.service.harness import ROOT, StartServer, noise
from tests.service.jobs.test_jobs import submit, wait
from tests.service.services import Postgresql
from unmingle.service.jobs import migrations, schema
from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.store import JobStore

V1 = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    age_s REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    audio_seconds REAL,
    parameters TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT,
    problem TEXT,
    UNIQUE (owner, idempotency_key)
)
"""
"""As servers made it before there were migrations."""

ROWS = [
    ("a", "alice", "done", 1.5, 60.25, 1, 5.0, "{}", "fa", "key", None),
    ("b", "", "failed", 2.5, 0.5, 3, None, "{}", "fb", None, '{"code": "internal", "status": 500, "detail": "x"}'),
    ("c", "alice", "running", 3.5, 0.0, 1, 7.0, '{"seed": 4}', "fc", "other", None),
    ("d", "bob", "queued", 4.5, 0.0, 0, None, "{}", "fd", "key", None),
]
COLUMNS = "id, owner, state, created, age_s, attempts, audio_seconds, parameters, fingerprint, idempotency_key, problem"


def old_file(path: Path, version: int, rows: list[tuple] = ROWS) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(V1)
    connection.executemany(f"INSERT INTO jobs ({COLUMNS}) VALUES ({', '.join('?' * 11)})", rows)
    connection.execute("DELETE FROM jobs WHERE id = 'deleted'")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()


def old_postgresql(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(V1.replace("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGSERIAL PRIMARY KEY"))
        for row in ROWS:
            connection.execute(f"INSERT INTO jobs ({COLUMNS}) VALUES ({', '.join(['%s'] * 11)})", row)


def are_all_there(store: JobStore) -> None:
    jobs = store.all()
    assert [job.id for job in jobs] == ["a", "b", "c", "d"]
    done, failed, running, queued = jobs
    assert (done.state, done.age_s, done.idempotency_key, done.created) == ("done", 60.25, "key", 1.5)
    assert failed.problem == {"code": "internal", "status": 500, "detail": "x"}
    assert (running.state, running.parameters, running.run, running.server) == ("running", '{"seed": 4}', 0, None)
    assert (queued.state, queued.stored_bytes, queued.audio_seconds) == ("queued", 0, None)


def shape(engine: Engine) -> dict[str, object]:
    """What the tables look like."""
    found = inspect(engine)
    looks = {
        table: (
            [
                (column["name"], column["nullable"], column["default"])
                for column in found.get_columns(table)
                if column["name"] != "number"  # SQLite says of a key that it may be NULL, unless told; it never is
            ],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(unique["column_names"] for unique in found.get_unique_constraints(table)),
        )
        for table in sorted(found.get_table_names())
    }
    engine.dispose()
    return looks


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_of_an_earlier_server_is_migrated(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.sqlite"
    old_file(path, version)
    store = JobStore(path)
    assert not store.is_new
    are_all_there(store)
    assert [job.id for job in store.resume(None)] == ["c"]
    claimed = [store.claim(), store.claim()]
    assert [(job.id, job.attempts, job.run) for job in claimed if job] == [("c", 2, 1), ("d", 1, 1)]
    added = store.add("e", "bob", "{}", "fe", "key", None)
    assert added.id == "d", "the key is his still"
    store.close()
    fresh = JobStore(tmp_path / "fresh.sqlite")
    fresh.close()
    assert shape(create_engine(f"sqlite:///{path}")) == shape(create_engine(f"sqlite:///{tmp_path / 'fresh.sqlite'}"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,), "older servers must refuse it"
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    JobStore(path).close()


def test_a_migration_that_is_interrupted_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.sqlite"
    old_file(path, 1)
    before = shape(create_engine(f"sqlite:///{path}"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", 3)  # which there is no script for
        with pytest.raises(Exception, match="3"):
            JobStore(path)
    assert shape(create_engine(f"sqlite:///{path}")) == before
    store = JobStore(path)
    are_all_there(store)
    store.close()


@pytest.mark.slow
def test_a_server_goes_on_with_the_data_directory_of_an_earlier_one(start_small: StartServer) -> None:
    server = start_small()
    location = submit(server, noise(0.5)).headers["location"]
    wait(server, location, "done")
    server.kill()
    data = server.directory / "data"
    waiting = data / "jobs" / "waiting"
    waiting.mkdir()
    (waiting / "upload").write_bytes(noise(1.0))
    for left in data.glob("jobs.sqlite*"):
        left.unlink()
    finished = ("done", 1.0, 5.0, 1, 0.5, "{}", "f", None, None)
    rows = [
        (location.rsplit("/", maxsplit=1)[-1], "", *finished),
        ("waiting", "", "running", 2.0, 0.0, 1, None, "{}", "g", None, None),
    ]
    old_file(data / "jobs.sqlite", 1, rows)
    server.start()
    assert server.http.get(location + "/result").status_code == 200
    assert wait(server, "/jobs/waiting", "done")["audio_seconds"] == 1.0


@pytest.mark.parametrize("kind", ["new", "current"])
def test_alembic_is_not_loaded_where_nothing_is_migrated(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "jobs.sqlite"
    if kind == "current":
        JobStore(path).close()
    code = (
        "import sys; from pathlib import Path; from unmingle.service.jobs.store import JobStore; "
        "JobStore(Path(sys.argv[1])).close(); assert not {'alembic', 'mako', 'psycopg', 'fsspec'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True, timeout=120)


def test_the_version_is_that_of_the_last_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == str(schema.VERSION)


@pytest.fixture
def database(postgresql: Postgresql) -> Iterator[str]:
    yield postgresql.database()


@pytest.mark.services
@pytest.mark.parametrize("old", [False, True])
def test_servers_that_start_together_make_or_migrate_the_tables_once(
    postgresql: Postgresql, database: str, old: bool
) -> None:
    if old:
        old_postgresql(database)
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: JobStore(database), range(4)))
    assert sorted(store.is_new for store in stores) == ([False] * 4 if old else [False, False, False, True])
    if old:
        are_all_there(stores[0])
    for store in stores:
        assert store.fault() is None
        store.close()
    if old:
        another = postgresql.database()
        JobStore(another).close()
        with_driver = [url.replace("postgresql:", "postgresql+psycopg:") for url in (database, another)]
        assert shape(create_engine(with_driver[0])) == shape(create_engine(with_driver[1]))


def test_servers_that_start_together_make_one_shared_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}"), range(4)))
    assert sorted(store.is_new for store in stores) == [False, False, False, True]
    for store in stores:
        store.close()


@pytest.mark.services
def test_tables_of_others_and_of_newer_servers_are_left_alone(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE jobs (id text, what text)")
        connection.execute("INSERT INTO jobs VALUES ('1', 'mine')")
    with pytest.raises(JobStoreError, match=r"has no columns.*another database"):
        JobStore(database)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT * FROM jobs").fetchall() == [("1", "mine")]
        connection.execute("DROP TABLE jobs")
    JobStore(database).close()
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '99'")
    with pytest.raises(JobStoreError, match=r"version 99, made by a newer server"):
        JobStore(database)
