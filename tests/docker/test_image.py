"""What the container may do, and what is in the image."""

from __future__ import annotations

import json
import os
import subprocess

from tests.docker.stack import Stack, docker
from tests.service.jobs.test_migrations import COLUMNS, ROWS, V1

MIB = 2**20

_FORBIDDEN = """
import os, pathlib, shutil, sys
found = [tool for tool in ("gcc", "cc", "g++", "make", "curl", "git") if shutil.which(tool)]
site = pathlib.Path(next(path for path in sys.path if path.endswith("site-packages")))
found += [str(site / name) for name in ("torch", "unmingle/training", "tests", "pip", "setuptools", "triton")
          if (site / name).exists()]
for top in ("/opt", "/home", "/root", "/data", "/tmp", "/var/tmp", "/source", "/wheels", "/locks"):
  for parent, folders, files in os.walk(top):
    found += [os.path.join(parent, name) for name in folders if name in (".git", ".cache", ".venv", ".ssh")]
    found += [os.path.join(parent, name) for name in files
              if name in (".env", ".netrc", ".pypirc", "id_rsa", "pip.conf") or name.endswith((".whl", ".pt"))]
print("\\n".join(found))
"""

_TAKES_OVER = f"""
import pathlib, sqlite3, tempfile
from unmingle.service.jobs.store import JobStore
path = pathlib.Path(tempfile.mkdtemp()) / "jobs.sqlite"
connection = sqlite3.connect(path)
connection.execute({V1!r})
connection.executemany("INSERT INTO jobs ({COLUMNS}) VALUES ({", ".join("?" * 11)})", {ROWS!r})
connection.commit()
connection.close()
store = JobStore(path)
print(*(job.id for job in store.all()))
"""

_WRITABLE = """
import os, pathlib
found = []
for folder in ("/", "/opt/unmingle", "/usr/local", "/var/tmp", "/etc", "/home", "/data", "/tmp", "/run"):
    try:
        (pathlib.Path(folder) / "probe").write_text("x")
        os.unlink(os.path.join(folder, "probe"))
        found.append(folder)
    except OSError:
        pass
print(" ".join(found))
"""


def test_it_runs_as_nobody_in_particular_without_capabilities(stack: Stack) -> None:
    status = dict(
        line.split(":\t", 1) for line in docker("exec", stack.container, "cat", "/proc/1/status").splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_it_can_write_its_volume_and_tmp_only(stack: Stack) -> None:
    assert stack.python(_WRITABLE) == "/data /tmp"
    assert stack.inspect()["HostConfig"]["ReadonlyRootfs"]


def test_the_engine_holds_it_to_its_limits(stack: Stack) -> None:
    inspected = stack.inspect()
    host = inspected["HostConfig"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] == 256
    assert "size=64m" in host["Tmpfs"]["/tmp"]
    assert [mount["Destination"] for mount in inspected["Mounts"]] == ["/data"]
    assert {binding["HostIp"] for binding in host["PortBindings"]["8000/tcp"]} == {"127.0.0.1"}
    assert not host["Privileged"]
    grace_s = next(
        int(value.partition("=")[2]) for value in inspected["Config"]["Env"] if value.startswith("UNMINGLE_GRACE_S=")
    )
    assert inspected["Config"]["StopTimeout"] > 2 * grace_s


def test_what_is_trimmed_is_not_missed_when_old_jobs_are_taken_over(stack: Stack) -> None:
    assert stack.python(_TAKES_OVER) == "a b c d"


def test_nothing_is_in_the_image_that_serving_does_not_need(stack: Stack) -> None:
    assert stack.python(_FORBIDDEN) == ""


def test_it_is_what_its_labels_and_its_own_word_say(stack: Stack) -> None:
    config = json.loads(docker("image", "inspect", stack.inspect()["Image"]))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == "Unmingle"
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "10001:10001"
    assert list(config["Volumes"]) == ["/data"]
    from unmingle.service.version import version

    version_inside = docker("exec", stack.container, "unmingle", "--version").split()[-1]
    assert version_inside == version().removesuffix("+checkout")


def test_it_adds_at_most_250_mb_to_its_base(stack: Stack) -> None:
    base = os.environ.get("BASE_IMAGE", "python:3.12-slim-bookworm")
    if subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode:
        docker("pull", base)  # BuildKit keeps what it builds on to itself
    sizes = [
        int(docker("image", "inspect", "--format", "{{.Size}}", image)) for image in (stack.inspect()["Image"], base)
    ]
    print(f"The image takes {(sizes[0] - sizes[1]) / 1e6:.0f} MB beyond {base} ({sizes[1] / 1e6:.0f} MB).")
    assert sizes[0] - sizes[1] <= 250e6
