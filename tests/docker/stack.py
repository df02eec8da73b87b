"""The server as docker-compose.yml starts it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
START_S = 180.0


class Stack:
    """One compose project with a name, a port and a volume of its own."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command = [*command, "-p", f"unmingle-test-{os.getpid()}", "-f", str(ROOT / "docker-compose.yml")]
        self._log = directory / "compose.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._environment = {**os.environ, "PORT": str(self.port)}
        cores = os.cpu_count() or 1
        if cores < 2:
            self._environment.setdefault("CPUS", str(cores))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        self.health_seen: list[str] = []

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run a command of compose; its output."""
        with self._log.open("a") as log:
            done = subprocess.run(
                [*self._command, *arguments],
                check=False,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
            log.write(done.stdout)
        if check and done.returncode:
            pytest.fail(f"compose {' '.join(arguments)} failed:\n" + self._log.read_text()[-4000:])
        return done.stdout

    @property
    def container(self) -> str:
        """Id of the server's container, running or not."""
        return self.compose("ps", "--all", "-q", "unmingle").strip()

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of the container."""
        return json.loads(docker("inspect", self.container))[0]

    def python(self, code: str) -> str:
        """Run code within the container, as its user; what it prints."""
        return docker("exec", self.container, "python", "-c", code).strip()

    def wait_for_health(self, wanted: str) -> None:
        """Until the image's HEALTHCHECK says so; notes what it said on the way."""
        give_up = time.monotonic() + START_S
        while (status := self.inspect()["State"].get("Health", {}).get("Status")) != wanted:
            self.health_seen.append(str(status))
            if time.monotonic() > give_up or self.inspect()["State"]["Status"] == "exited":
                pytest.fail(f"The server is {status}, not {wanted}:\n" + docker("logs", self.container))
            time.sleep(0.2)
        self.health_seen.append(wanted)


def docker(*arguments: str) -> str:
    """Run the docker command; what it prints."""
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    if done.returncode:
        pytest.fail(f"docker {' '.join(arguments)} failed:\n{done.stdout[-4000:]}")
    return done.stdout
