"""PostgreSQL and an S3 server as real processes, which the tests start."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from tests.service.harness import free_port

START_S = 60.0


def _programs() -> Path | None:
    """The newest PostgreSQL that is installed; Debian does not put the server on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgresql:
    """A PostgreSQL server with data of its own."""

    def __init__(self) -> None:
        programs = _programs()
        if programs is None:
            pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
        self.place = Path(tempfile.mkdtemp(prefix="unmingle-postgresql-"))  # not below pytest's, which is root's alone
        self._user = self._group = None
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._user, self._group = nobody.pw_uid, nobody.pw_gid
            os.chown(self.place, self._user, self._group)
        self.port, self._programs, self._databases = free_port(), programs, 0
        made = self._run("initdb", "-D", "data", "-U", "unmingle", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        assert made.returncode == 0, made.stdout + made.stderr
        self.start()

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._programs / program), *arguments]
        who = {"user": self._user, "group": self._group, "extra_groups": [] if self._user else None}
        return subprocess.run(
            command, cwd=self.place, capture_output=True, text=True, timeout=START_S, check=False, **who
        )

    def start(self) -> None:
        """Start it (again), and wait until it answers."""
        # Without fsync: what is tested are the servers that use it, and not what survives a loss of power.
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.place} -c fsync=off -c max_connections=80"
        with (self.place / "out").open("a") as out:
            self.process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", "data", *options.split()],
                cwd=self.place,
                stdout=out,
                stderr=out,
                user=self._user,
                group=self._group,
                extra_groups=[] if self._user else None,
            )
        give_up = time.monotonic() + START_S
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port)).returncode != 0:
            assert time.monotonic() < give_up and self.process.poll() is None, (self.place / "out").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator does in a hurry: connections are cut."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=START_S)

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://unmingle@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        """End it, and delete what it has."""
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.place, ignore_errors=True)


class S3:
    """A server that speaks as S3 does, with one bucket. It keeps everything in memory."""

    bucket = "unmingle"

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with (directory / "s3.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log
            )
        give_up = time.monotonic() + START_S
        while True:
            try:
                httpx.put(f"{self.url}/{self.bucket}", trust_env=False).raise_for_status()
                return
            except httpx.TransportError:
                assert time.monotonic() < give_up and self.process.poll() is None, (directory / "s3.txt").read_text()
                time.sleep(0.05)

    def remove(self) -> None:
        """End it, with all that it has."""
        self.process.kill()
        self.process.wait(timeout=START_S)
