"""The services that several servers share, started once for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.services import S3, Postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server; each test takes a database of its own."""
    running = Postgresql()
    yield running
    running.remove()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server; each test takes a prefix of its own."""
    running = S3(tmp_path_factory.mktemp("s3"))
    yield running
    running.remove()
