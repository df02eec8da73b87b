"""The table of jobs, in SQLite: an accepted job survives any crash. Blocking."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unmingle.model.errors import UnmingleError
from unmingle.service.schemas import JobState

UNFINISHED: tuple[JobState, ...] = ("queued", "running")
_FINISHED = "state IN ('done', 'failed')"

_VERSION = 1
"""Version of the schema, in SQLite's user_version. The first servers wrote 0, for the same schema."""

_SCHEMA = """
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
_COLUMNS = (
    "id, owner, state, created, age_s, attempts, audio_seconds, parameters, fingerprint, idempotency_key, problem"
)


class JobStoreError(UnmingleError):
    """The file of the jobs cannot be used."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        id: unguessable.
        owner: name of the API key that it came with.
        state: queued, running, done or failed.
        created: seconds since 1970.
        age_s: seconds since it finished, counted while the server runs; clocks that jump do not change it.
        attempts: how often it was started without finishing.
        audio_seconds: length of the recording, where known yet.
        parameters: how to separate, as JSON.
        fingerprint: hash of the upload and the parameters.
        idempotency_key: the client's name for the request.
        problem: why it failed: code, status and detail.
    """

    id: str
    owner: str
    state: JobState
    created: float
    age_s: float
    attempts: int
    audio_seconds: float | None
    parameters: str
    fingerprint: str
    idempotency_key: str | None
    problem: dict[str, Any] | None


class JobStore:
    """The table of jobs."""

    def __init__(self, path: Path) -> None:
        """Open the table, or make it.

        Raises:
            JobStoreError: the file is damaged, or of a version that this server does not know.
            OSError, sqlite3.Error: it cannot be opened at all.
        """
        self._lock = threading.Lock()
        self._path = path
        self.is_new = not path.exists() or path.stat().st_size == 0
        """Whether there was no table before."""
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise
        self._inode = path.stat().st_ino

    def _prepare(self) -> None:
        try:
            (health,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._unusable(f"is damaged ({error})") from error
        if health != "ok":
            raise self._unusable(f"is damaged ({health})")
        if version > _VERSION:
            raise self._unusable(f"has version {version}, made by a newer server; this one knows {_VERSION}")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        with self._transaction() as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
            if not columns:
                self.is_new = True
                connection.execute(_SCHEMA)
            elif missing := set(_COLUMNS.split(", ")) - columns:
                raise self._unusable(f"has no columns {', '.join(sorted(missing))}: this program did not make it")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _unusable(self, what: str) -> JobStoreError:
        return JobStoreError(
            f"{self._path} {what}. Nothing was changed. Restore a good copy; or move the file away, and the server "
            "starts without jobs and sets aside the files of existing ones."
        )

    def fault(self) -> str | None:
        """What is wrong with the store, if anything is."""
        try:
            if self._path.stat().st_ino != self._inode:
                return f"{self._path.name} was replaced while the server runs; restart it."
            with self._reading() as connection:
                connection.execute("SELECT 1 FROM jobs LIMIT 1").fetchone()
        except FileNotFoundError:
            return f"{self._path.name} was removed while the server runs; restart it."
        except (OSError, sqlite3.Error) as error:
            return f"{self._path.name} cannot be read ({error})."
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def add(
        self,
        job_id: str,
        owner: str,
        parameters: str,
        fingerprint: str,
        idempotency_key: str | None,
        audio_seconds: float | None,
    ) -> Job:
        """Keep a new job; where the owner has one with this idempotency key, that one is returned instead."""
        with self._transaction() as connection:
            if idempotency_key is not None:
                found = self._find(connection, "owner = ? AND idempotency_key = ?", owner, idempotency_key)
                if found:
                    return found[0]
            connection.execute(
                "INSERT INTO jobs (id, owner, state, created, parameters, fingerprint, idempotency_key, audio_seconds) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                (job_id, owner, time.time(), parameters, fingerprint, idempotency_key, audio_seconds),
            )
            return self._find(connection, "id = ?", job_id)[0]

    def get(self, job_id: str) -> Job | None:
        """The job, if it is kept."""
        with self._reading() as connection:
            found = self._find(connection, "id = ?", job_id)
            return found[0] if found else None

    def with_key(self, owner: str, idempotency_key: str) -> Job | None:
        """The owner's job with this idempotency key, if it is kept."""
        with self._reading() as connection:
            found = self._find(connection, "owner = ? AND idempotency_key = ?", owner, idempotency_key)
            return found[0] if found else None

    def unfinished(self) -> list[Job]:
        """Jobs that wait or run, in their order."""
        with self._reading() as connection:
            return self._find(connection, "state IN ('queued', 'running')")

    def all(self) -> list[Job]:
        """Every job that is kept."""
        with self._reading() as connection:
            return self._find(connection, "TRUE")

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        with self._reading() as connection:
            rows = connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()
            return {"queued": 0, "running": 0, "done": 0, "failed": 0, **dict(rows)}

    def claim(self, skipped: Collection[str] = ()) -> Job | None:
        """The job that is next, apart from those that are skipped; it is running from now on."""
        with self._transaction() as connection:
            found = [job for job in self._find(connection, "state = 'queued'") if job.id not in skipped]
            if not found:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE id = ?", (found[0].id,)
            )
            return self._find(connection, "id = ?", found[0].id)[0]

    def measured(self, job_id: str, audio_seconds: float) -> None:
        """Store a recording's length."""
        with self._transaction() as connection:
            connection.execute("UPDATE jobs SET audio_seconds = ? WHERE id = ?", (audio_seconds, job_id))

    def requeue(self, job_id: str, *, forgive: bool) -> None:
        """A running job waits again; `forgive` does not count the attempt."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - ? WHERE id = ? AND state = 'running'",
                (int(forgive), job_id),
            )

    def finish(self, job_id: str, problem: dict[str, Any] | None = None) -> None:
        """A running job is done, or failed with a problem."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, problem = ? WHERE id = ? AND state = 'running'",
                ("failed" if problem else "done", json.dumps(problem) if problem else None, job_id),
            )

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def expired(self, elapsed_s: float, keep_s: float) -> list[str]:
        """Finished jobs that are older than `keep_s` when `elapsed_s` is added to their age."""
        with self._reading() as connection:
            return [job.id for job in self._find(connection, f"{_FINISHED} AND age_s + ? > ?", elapsed_s, keep_s)]

    def age(self, elapsed_s: float) -> None:
        """Let finished jobs grow older."""
        with self._transaction() as connection:
            connection.execute(f"UPDATE jobs SET age_s = age_s + ? WHERE {_FINISHED}", (elapsed_s,))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Takes no lock on the file: readers do not wait (WAL)."""
        with self._lock:
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # COMMIT can fail on a full disk, too; SQLite may or may not have rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @staticmethod
    def _find(connection: sqlite3.Connection, where: str, *values: object) -> list[Job]:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where} ORDER BY number", values)
        return [Job(*(*row[:-1], json.loads(row[-1]) if row[-1] else None)) for row in rows]
