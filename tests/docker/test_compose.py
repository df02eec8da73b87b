"""The compose files: valid, each way they are put together, and every service on a short leash. Needs no engine."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from compose_spec import PyCompose

from tests.docker.conftest import compose_commands
from tests.docker.stack import ROOT

PLAIN, GPU, MONITORING = "docker-compose.yml", "docker/compose.gpu.yml", "docker/compose.monitoring.yml"
TOGETHER = [(PLAIN,), (PLAIN, GPU), (PLAIN, MONITORING), (PLAIN, GPU, MONITORING)]


def services(file: str) -> dict[str, Any]:
    """The services of a file, its variables at their defaults; refused by the specification's reader if not valid."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / file).read_text())
    assert "${" not in text
    text = re.sub(r"(?m)cpus: (\d+)$", r"cpus: \1.0", text)  # the reader knows no whole numbers here; compose does
    parsed = PyCompose.from_yaml(text)
    parsed.validate()
    return dict(parsed.to_dict()["services"])


@pytest.mark.parametrize("file", [PLAIN, GPU, MONITORING])
def test_the_compose_specification_takes_it(file: str) -> None:
    assert services(file)


@pytest.mark.parametrize("files", TOGETHER, ids=" ".join)
def test_compose_itself_takes_them_together(files: tuple[str, ...]) -> None:
    commands = compose_commands()
    if not commands:
        pytest.skip("neither `docker compose` nor docker-compose is installed, so neither read the compose files")
    arguments = [argument for file in files for argument in ("-f", file)]
    for command in commands:
        done = subprocess.run([*command, *arguments, "config"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("unmingle:gpu" in done.stdout) == (GPU in files)
        assert ("prometheus" in done.stdout) == (MONITORING in files)


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in (PLAIN, MONITORING) for name in services(file)])
def test_every_service_is_held_to_its_limits_and_listens_here_only(file: str, name: str) -> None:
    service = services(file)[name]
    assert list(service["cap_drop"]) == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    for limit in ("mem_limit", "cpus", "pids_limit"):
        assert service[limit]
    assert service.get("read_only") or name == "gpu-exporter"  # NVIDIA's writes where its image says
    assert all("size=" in mount for mount in service.get("tmpfs", ()))
    for port in service.get("ports", ()):
        assert "127.0.0.1" in str(port)
    assert "privileged" not in service
    assert not [mount for mount in service.get("volumes", ()) if "docker.sock" in str(mount)]


def test_the_server_gets_longer_to_stop_than_it_takes() -> None:
    service = services(PLAIN)["unmingle"]
    grace_s = int(service["environment"]["UNMINGLE_GRACE_S"])
    assert _seconds(str(service["stop_grace_period"])) > 2 * grace_s


def _seconds(duration: str) -> float:
    """Of a duration as compose writes it, such as 1m15s."""
    return sum(float(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"(\d+)([hms])", duration))
