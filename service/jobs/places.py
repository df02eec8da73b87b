"""Which database of jobs a deployment has chosen."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from unmingle.service.jobs.database import Database, JobStoreError
from unmingle.service.jobs.sqlite_file import SqliteFile

_EXPECTED = "expected postgresql://user:password@host/database, or sqlite:////path/to/a/file"


def open_database(place: Path | str) -> Database:
    """Open a database of jobs.

    Args:
        place: a file of this server alone, or the URL of a database that several share.

    Raises:
        JobStoreError: the URL is not valid, or what it names cannot be used.
        OSError, sqlite3.Error: a file cannot be opened at all.
    """
    if isinstance(place, Path):
        return SqliteFile(place)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        raise JobStoreError(f"UNMINGLE_DATABASE_URL is no URL of a database; {_EXPECTED}.") from error
    match url.get_backend_name():
        case "postgresql" | "postgres":
            from unmingle.service.jobs.postgresql import open_postgresql

            return open_postgresql(url)
        case "sqlite" if url.database:
            return SqliteFile(Path(url.database), is_shared=True)
        case kind:
            raise JobStoreError(f"UNMINGLE_DATABASE_URL names a database of the kind '{kind}'; {_EXPECTED}.")
