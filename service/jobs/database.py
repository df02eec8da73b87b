"""The database of jobs: an SQLite file, or PostgreSQL. Blocking."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import ColumnElement, Connection, Double, Engine, literal_column, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from unmingle.model.errors import UnmingleError
from unmingle.service.problems import UnavailableError

_NOW = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
}
_POSTGRESQL_DISK_FULL = "53100"


class JobStoreError(UnmingleError):
    """The database of jobs cannot be used."""


class Database:
    """An open database whose tables are of this version.

    Attributes:
        name: for messages, without a password.
        is_new: whether there were no tables before.
        is_shared: whether other servers may use it, too.
        now: the database's clock in SQL, seconds since 1970: the clocks of several servers need not agree.
    """

    is_new = False

    def __init__(
        self, engine: Engine, name: str, turn: AbstractContextManager[object] | None = None, *, is_shared: bool
    ) -> None:
        """Args: turn: held while the database is used, where only one thread may do so at a time."""
        self._engine, self.name, self.is_shared = engine, name, is_shared
        self._turn = turn or nullcontext()
        self.now: ColumnElement[float] = literal_column(_NOW[engine.dialect.name], Double)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For looking only.

        Raises:
            UnavailableError: it does not respond.
        """
        with self._turn, _translated(self.name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, lock: int | None = None) -> Iterator[Connection]:
        """A transaction: all of it or nothing.

        Args:
            lock: a number; those who give the same come one after the other, whichever server they are on.

        Raises:
            UnavailableError: it does not respond.
            OSError: its disk is full.
        """
        with self._turn, _translated(self.name), self._engine.connect() as found:
            connection = found.execution_options(writing=True)
            with connection.begin():
                if lock is not None and self._engine.dialect.name == "postgresql":  # SQLite has one writer anyway
                    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": lock})
                yield connection

    def fault(self) -> str | None:
        """What is wrong with the database, if anything is."""
        try:
            with self.reading() as connection:
                connection.execute(text("SELECT 1 FROM jobs LIMIT 1")).first()
        except (OSError, ProgrammingError) as error:
            return f"{self.name} cannot be read ({reason(error)})."
        return None

    def close(self) -> None:
        """Close all connections."""
        with self._turn:
            self._engine.dispose()


def reason(error: BaseException) -> str:
    """Why a database does not respond: the first line of what it, or its driver, says."""
    while isinstance(error, UnavailableError | DBAPIError) and (cause := error.__cause__ or _original(error)):
        error = cause
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _original(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else None


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Errors of the database as such of the operating system: those who use it know nothing of drivers."""
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError):
        raise  # a fault of this program
    except (DBAPIError, PoolTimeoutError) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(original, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL or getattr(original, "sqlstate", None) == _POSTGRESQL_DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name) from error
        raise UnavailableError(f"{name} does not respond") from error
