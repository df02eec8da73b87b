"""A real engine, the real image, started by the real compose file. `make docker-test` runs this; `make test` does not.

BASE_IMAGE, BUILD_NETWORK, CPUS and MEMORY reach docker-compose.yml from the environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.stack import ROOT, Stack


def compose_commands() -> list[list[str]]:
    """Compose v2 and docker-compose, if they are there."""
    return [
        command
        for command in (["docker", "compose"], ["docker-compose"])
        if shutil.which(command[0])
        and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    ]


@pytest.fixture(scope="session")
def engine() -> list[str]:
    """The compose command, where the image can be built."""
    if not os.environ.get("DOCKER_TESTS"):
        pytest.skip("`make docker-test` runs this")
    looked = subprocess.run([ROOT / "docker" / "engine"], capture_output=True, text=True, check=False)
    if looked.returncode:
        pytest.skip(looked.stdout.strip())
    return compose_commands()[0]


@pytest.fixture(scope="session")
def stack(engine: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The image built and the server up and ready, under the compose file's limits."""
    running = Stack(engine, tmp_path_factory.mktemp("docker"))
    try:
        running.compose("build")
        running.compose("up", "-d")
        running.wait_for_health("healthy")
        yield running
    finally:
        running.http.close()
        running.compose("down", "--volumes", "--timeout", "20", check=False)


@pytest.fixture(scope="session")
def mixture() -> Path:
    """Five seconds of two people talking at once."""
    return ROOT / "examples" / "two_speakers" / "mixture.flac"
