"""Files in S3 and in a shared directory: whole or not there, streamed, and clear words where they cannot be had."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.service.harness import ROOT
from tests.service.services import S3
from unmingle.service.jobs import stored
from unmingle.service.jobs.stored import StoredFiles
from unmingle.service.problems import UnavailableError
from unmingle.service.store.objects import ObjectStore, StoreError

S3_SERVER = pytest.param("s3", marks=pytest.mark.services)


@pytest.fixture(params=["file", S3_SERVER])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "file":
        return ObjectStore(f"file://{tmp_path / 'shared'}")
    running = request.getfixturevalue("s3")
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore(f"s3://{running.bucket}/{secrets.token_hex(4)}")


def test_files_come_back_as_they_were(store: ObjectStore, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for size in (0, 1, 20 * 2**20):  # the last one in several parts
        source.write_bytes(os.urandom(size))
        store.put(source, f"job/{size}")
        store.get(f"job/{size}", target)
        assert target.read_bytes() == source.read_bytes()
    assert sorted(store.names("job")) == ["0", "1", str(20 * 2**20)]
    assert store.names() == ["job"]
    assert store.names("nothing") == []
    assert 0 <= store.age_s("job") < 3600
    assert store.fault() is None
    store.delete("job/1")
    with pytest.raises(FileNotFoundError):
        store.get("job/1", tmp_path / "other")
    store.delete("job")
    store.delete("job")
    assert store.names() == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "shared") == ["source", "target"]
    with pytest.raises(FileNotFoundError):
        store.put(tmp_path / "gone", "job/gone")


def test_what_belongs_to_no_job_is_deleted_when_it_is_old(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = StoredFiles(store, tmp_path / "data", 1)
    for job_id in ("known", "orphan"):
        upload = tmp_path / job_id
        upload.write_bytes(b"upload")
        files.keep(upload, job_id)
    files.sweep(lambda: ["known"])
    assert sorted(store.names()) == ["known", "orphan"], "a server may be about to accept it"
    monkeypatch.setattr(stored, "ORPHAN_S", -1.0)
    files.sweep(lambda: ["known"])
    assert len(store.names()) == 2, "once an hour is enough"
    monkeypatch.setattr(stored, "_SWEEP_S", -1.0)
    files.sweep(lambda: ["known"])
    assert store.names() == ["known"]


def test_copies_that_were_not_used_for_long_are_given_up(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = StoredFiles(store, tmp_path / "data", 250)
    for number in range(4):
        upload = tmp_path / "upload"
        upload.write_bytes(bytes(100))
        files.keep(upload, str(number))
        os.utime(files.directory(str(number)), (number, time.time() - 1000 + (number * 7) % 4))
    order = [str(number) for number in sorted(range(4), key=lambda number: (number * 7) % 4)]
    assert files.unused() == order[:2]
    os.utime(files.directory(order[0]))
    assert files.unused() == order[1:3]


@pytest.mark.services
def test_a_store_that_does_not_respond_is_no_missing_file(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = S3(tmp_path_factory.mktemp("s3"))
    try:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://{running.bucket}/away")
    finally:
        running.remove()
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for use in (
        lambda: store.put(source, "job/upload"),
        lambda: store.get("job/upload", tmp_path / "target"),
        lambda: store.delete("job"),
        store.names,
    ):
        with pytest.raises(UnavailableError, match="does not respond"):
            use()
    assert "cannot be read" in (store.fault() or "")
    assert not (tmp_path / "target").exists()


@pytest.mark.services
def test_memory_does_not_grow_with_the_size_of_a_file(s3: S3, tmp_path: Path) -> None:
    """A file of 120 MiB and a process that grows by less than 60: nothing is held whole."""
    code = """
import pathlib, resource, sys
from unmingle.service.store.objects import ObjectStore
store = ObjectStore(sys.argv[1])
source = pathlib.Path(sys.argv[2])
store.put(source, "warm/up") if source.stat().st_size == 0 else None
with source.open("wb") as file:
    file.truncate(120 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put(source, "job/large")
store.get("job/large", source.with_name("back"))
assert source.with_name("back").stat().st_size == 120 * 2**20
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
assert grown < 60, grown
"""
    environment = {**os.environ, **s3.environment, "PYTHONPATH": str(ROOT)}
    place = f"s3://{s3.bucket}/{secrets.token_hex(4)}"
    (tmp_path / "source").touch()
    command = [sys.executable, "-c", code, place, str(tmp_path / "source")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/a/directory", "no URL; expected s3"),
        ("nonsense://x", "no known kind"),
        ("file:///proc/nothing", "Nothing can be written"),
        ("file:///dev/null/x", "Nothing can be written"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as raised:
        ObjectStore(url)
    assert url in str(raised.value)
