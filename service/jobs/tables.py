"""The tables that servers share: jobs, the servers themselves, and one row of facts about the deployment."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, Table, Text, UniqueConstraint, text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("age_s", Double, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("audio_seconds", Double),
    Column("parameters", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("problem", Text),
    Column("server", Text),
    Column("run", Integer, nullable=False, server_default=text("0")),
    Column("progress", Double, nullable=False, server_default=text("0")),
    Column("stored_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("traceparent", Text),
    UniqueConstraint("owner", "idempotency_key"),
    sqlite_autoincrement=True,
)

servers = Table(
    "servers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen", Double, nullable=False),
)
"""`seen`: when the server last gave a sign of life, in seconds since 1970 by the database's clock."""

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("aged", Double, nullable=False),
    Column("store", Text, nullable=False, server_default=text("''")),
)
"""One row, with id 1.

`aged`: until when finished jobs have aged, by the database's clock. `store`: where the files of the jobs are; empty for
beside the database.
"""
