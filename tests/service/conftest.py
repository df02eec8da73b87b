"""Real server processes on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.harness import Faults, RunningServer, StartServer
from tests.service.services import S3, Postgresql


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, bundled_model: Path) -> Iterator[RunningServer]:
    """A server with default settings, shared by tests that leave it as it was."""
    running = RunningServer(tmp_path_factory.mktemp("server"), {"UNMINGLE_MODEL": str(bundled_model)})
    yield running
    running.kill()


@pytest.fixture
def start_server(tmp_path: Path, bundled_model: Path) -> Iterator[StartServer]:
    """Starts a server of one's own, with settings: start_server(UNMINGLE_MAX_SECONDS="2")."""
    started: list[RunningServer] = []

    def start(**environment: str) -> RunningServer:
        directory = tmp_path / f"server{len(started)}"
        directory.mkdir()
        started.append(RunningServer(directory, {"UNMINGLE_MODEL": str(bundled_model), **environment}))
        return started[-1]

    yield start
    for running in started:
        running.kill()


SMALL_MODEL = Path(__file__).parent / "small.onnx"
"""A network that was never taught anything, and is fast: for tests about the server and not about sound."""


@pytest.fixture(scope="session")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the small model and default settings, shared by tests that leave it as it was."""
    running = RunningServer(tmp_path_factory.mktemp("small"), {"UNMINGLE_MODEL": str(SMALL_MODEL)})
    yield running
    running.kill()


@pytest.fixture
def start_small(start_server: StartServer) -> StartServer:
    """`start_server`, with the small model."""

    def start(**environment: str) -> RunningServer:
        return start_server(**{"UNMINGLE_MODEL": str(SMALL_MODEL), **environment})

    return start


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


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """What goes wrong in the servers of a module."""
    return Faults(tmp_path_factory.mktemp("faults") / "faults.json")
