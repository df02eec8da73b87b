"""An SQLite file as the database of jobs: checked when it is opened, and watched while the server runs."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

from unmingle.service.jobs import schema
from unmingle.service.jobs.database import Database, JobStoreError


class SqliteFile(Database):
    """One connection, which threads use in turn: a second one would make a new file where this one was removed."""

    def __init__(self, path: Path, *, is_shared: bool = False) -> None:
        """Open the file, or make it.

        Raises:
            JobStoreError: it is damaged, or of a version that this server does not know, or not ours.
            OSError, sqlite3.Error: it cannot be opened at all.
        """
        self._path = path
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        super().__init__(_engine(self._connection), path.name, threading.RLock(), is_shared=is_shared)
        try:
            self._check()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            with self.writing() as connection:
                self.is_new = schema.bring_up_to_date(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")  # so that older servers refuse it
        except schema.SchemaError as error:
            self._connection.close()
            raise self._unusable(str(error)) from error
        except BaseException:
            self._connection.close()
            raise
        self._inode = path.stat().st_ino

    def _check(self) -> None:
        try:
            (health,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._unusable(f"is damaged ({error})") from error
        if health != "ok":
            raise self._unusable(f"is damaged ({health})")
        if version > schema.VERSION:
            raise self._unusable(f"has version {version}, made by a newer server; this one knows {schema.VERSION}")

    def _unusable(self, what: str) -> JobStoreError:
        return JobStoreError(
            f"{self._path} {what}. Nothing was changed. Restore a good copy; or move the file away, and the server "
            "starts without jobs and sets aside the files of existing ones."
        )

    def fault(self) -> str | None:
        """What is wrong with the file, if anything is."""
        try:
            if self._path.stat().st_ino != self._inode:
                return f"{self._path.name} was replaced while the server runs; restart it."
        except FileNotFoundError:
            return f"{self._path.name} was removed while the server runs; restart it."
        except OSError as error:
            return f"{self._path.name} cannot be read ({error})."
        return super().fault()

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()


def _engine(connection: sqlite3.Connection) -> Engine:
    engine = create_engine("sqlite+pysqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Writers wait for each other when they begin, not in the middle; readers wait for nobody (WAL)."""
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
