"""Brings the tables of a database to this version. Alembic is imported only where there is something to migrate."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, text

from unmingle.service.jobs.tables import deployment, metadata

VERSION = 2
"""Of the tables: the latest revision in migrations/versions."""

_FIRST_COLUMNS = (
    "id, owner, state, created, age_s, attempts, audio_seconds, parameters, fingerprint, idempotency_key, problem"
)

log = logging.getLogger(__name__)


class SchemaError(Exception):
    """The tables cannot be used; the message completes a sentence that begins with the database's name."""


def bring_up_to_date(connection: Connection) -> bool:
    """Make the tables or migrate them, in the transaction of `connection`, which nobody else may do meanwhile.

    Returns:
        Whether there were none before.

    Raises:
        SchemaError: they are of a newer server, or not ours.
    """
    tables = set(inspect(connection).get_table_names())
    if "jobs" not in tables:
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": str(VERSION)})
        connection.execute(insert(deployment).values(id=1, aged=0.0))
        return True
    columns = {column["name"] for column in inspect(connection).get_columns("jobs")}
    if missing := set(_FIRST_COLUMNS.split(", ")) - columns:
        raise SchemaError(f"has no columns {', '.join(sorted(missing))}: this program did not make it")
    version = None  # of servers that knew one version only, and did not write it down here
    if "alembic_version" in tables:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version == str(VERSION):
        return False
    known = [str(number) for number in range(1, VERSION)]
    if version is not None and version not in known:
        raise SchemaError(f"has version {version}, made by a newer server; this one knows {VERSION}")
    _migrate(connection, version)
    return False


def _migrate(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    log.info("the tables of jobs are migrated from version %s to %s", version or 1, VERSION)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is None:
        command.stamp(config, "1")
    command.upgrade(config, str(VERSION))
