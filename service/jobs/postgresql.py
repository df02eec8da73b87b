"""PostgreSQL as the database of jobs, which several servers share."""

from __future__ import annotations

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import ProgrammingError

from unmingle.service.jobs import schema
from unmingle.service.jobs.database import Database, JobStoreError, reason

_MIGRATING = 7_251_901
"""Number of the advisory lock under which one server at a time makes or migrates the tables."""

_CONNECTED = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # A server that is stopped in the middle of a transaction must not hold up the others.
    "options": "-c lock_timeout=10s -c statement_timeout=30s -c idle_in_transaction_session_timeout=15s",
    "application_name": "unmingle",
}


def open_postgresql(url: URL) -> Database:
    """Connect, and make or migrate the tables.

    Raises:
        JobStoreError: it cannot be reached, or its tables cannot be used.
    """
    name = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
    given = {key: value for key, value in _CONNECTED.items() if key not in url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=given,
            pool_size=4,
            max_overflow=8,
            pool_timeout=10,
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise JobStoreError(
            f"UNMINGLE_DATABASE_URL names {name}, and psycopg is not installed: pip install 'unmingle[shared]'."
        ) from error
    database = Database(engine, name, is_shared=True)
    try:
        with database.writing(_MIGRATING) as connection:
            database.is_new = schema.bring_up_to_date(connection)
    except schema.SchemaError as error:
        database.close()
        raise JobStoreError(
            f"The table jobs in {name} {error}. Nothing was changed. Set UNMINGLE_DATABASE_URL to another database."
        ) from error
    except (OSError, ProgrammingError) as error:
        database.close()
        raise JobStoreError(
            f"The database {name} cannot be used ({reason(error)}). Start it, give its user the right to create tables "
            "there, or correct UNMINGLE_DATABASE_URL."
        ) from error
    return database
