"""A decoder that a file has taken over gains nothing: real processes try, one layer of confinement at a time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.decoding.attempts import attempts
from tests.service.harness import ROOT, noise
from unmingle.service.decoding import confinement
from unmingle.service.decoding.limits import TERMS

IN_FORCE = confinement.in_force()
GIVE_UP_S = 120
FILES = ("read a file", "list a folder", "write a file", "change a file", "delete a file", "make a folder", "execute")


def tried(tmp_path: Path, layers: str) -> dict[str, str]:
    """The outcome of each attempt."""
    (tmp_path / "victim").write_bytes(b"untouched")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.service.decoding.attempts"),
                *(layers, str(tmp_path), str(listening.getsockname()[1])),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=GIVE_UP_S,
            check=True,
        )
    outcomes = json.loads(done.stdout)
    assert outcomes.keys() == attempts(tmp_path, 0).keys()
    return outcomes


def needs(*layers: str) -> None:
    if missing := set(layers) - set(IN_FORCE):
        pytest.skip(f"this kernel has no {' and no '.join(sorted(missing))}")


def test_without_confinement_the_attempts_succeed(tmp_path: Path) -> None:
    outcomes = tried(tmp_path, "not")
    # A kernel often refuses these two anyway.
    assert {name for name, outcome in outcomes.items() if outcome != "done"} <= {"io_uring", "trace"}
    assert not (tmp_path / "victim").exists()


def test_seccomp_alone_refuses_all_of_them(tmp_path: Path) -> None:
    needs("seccomp")
    outcomes = tried(tmp_path, "seccomp")
    assert outcomes.pop("start a thread") == "can't start new thread"
    assert set(outcomes.values()) == {"EPERM"}, outcomes
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_landlock_alone_refuses_files_and_programs(tmp_path: Path) -> None:
    needs("Landlock")
    outcomes = tried(tmp_path, "Landlock")
    assert {name: outcomes[name] for name in FILES} == dict.fromkeys(FILES, "EACCES")
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_a_newer_landlock_alone_refuses_tcp_and_signals(tmp_path: Path) -> None:
    needs("Landlock")
    if (version := confinement._landlock_version()) < confinement._SCOPES_SINCE:
        pytest.skip(f"this kernel's Landlock is of version {version}")
    outcomes = tried(tmp_path, "Landlock")
    found = {name: outcomes[name] for name in ("connect", "listen", "signal")}
    assert found == {"connect": "EACCES", "listen": "EACCES", "signal": "EPERM"}


def test_both_together(tmp_path: Path) -> None:
    needs("Landlock", "seccomp")
    outcomes = tried(tmp_path, "Landlock,seccomp")
    assert "done" not in outcomes.values(), outcomes
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_where_confinement_fails_nothing_is_decoded(tmp_path: Path) -> None:
    needs("Landlock")
    (tmp_path / "upload").write_bytes(noise(1))
    program = (
        "import os, sys\n"
        "from unmingle.service.decoding.child import decode_confined\n"
        "from unmingle.service.decoding.limits import TERMS\n"
        "source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)\n"
        "while os.dup(source) < 20: pass\n"  # a set of rules would be one more than may be open
        "decode_confined(source, target, 1, TERMS.unpack(bytes.fromhex(sys.argv[3])))\n"
    )
    terms = TERMS.pack(60.0, 50_000_000.0, 2.0**30, 20.0, 0.0).hex()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "upload"), str(tmp_path / "decoded"), terms],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=GIVE_UP_S,
        check=True,
    )
    assert json.loads(done.stdout).keys() == {"errno"}
    assert (tmp_path / "decoded").read_bytes() == b""
