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

NO_ENGINE = (
    "No Docker engine answers here, so the image was not tested. Install one (Debian: apt-get install docker.io "
    "docker-compose; others: https://docs.docker.com/engine/install/), start it, see that `docker info` works as this "
    "user, and run `make docker-test` again."
)


def compose_command() -> list[str] | None:
    """Compose v2 or docker-compose, whichever there is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
        ):
            return command
    return None


@pytest.fixture(scope="session")
def engine() -> list[str]:
    """The compose command, where an engine answers."""
    if not os.environ.get("DOCKER_TESTS"):
        pytest.skip("`make docker-test` runs this")
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip(NO_ENGINE)
    command = compose_command()
    if command is None:
        pytest.skip("There is Docker but neither `docker compose` nor docker-compose; install one of them.")
    return command


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
