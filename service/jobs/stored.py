"""Files of jobs in a store that several servers share, and copies of those that are needed here. Blocking.

    JOB/upload        as it came, until the job is done
    JOB/run-N/...     the stems that the Nth run has made, the manifest last

The database says which run is the result, so half of a result, or one that came too late, is never seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from unmingle.service.jobs import directories
from unmingle.service.jobs.directories import STEMS, UPLOAD
from unmingle.service.jobs.job import Job
from unmingle.service.output.stems import MANIFEST, StemSet
from unmingle.service.store.objects import ObjectStore

ORPHAN_S = 86_400.0
"""How old files are that belong to no job when they are deleted: an upload is stored before its job is accepted."""
_SWEEP_S = 3600.0
_LOOK_S = 10.0
_UNUSED_S = 60.0

log = logging.getLogger(__name__)


class StoredFiles:
    """Implements `JobFiles`, and says so where it says nothing else."""

    is_shared, copies = True, 2

    def __init__(self, store: ObjectStore, data_dir: Path, cache_bytes: int) -> None:
        """Args: cache_bytes: of copies of finished jobs' files that are kept on this server's disk."""
        self._store, self._cache_bytes = store, cache_bytes
        self._directory = data_dir / "cache"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.place = store.place
        self._swept = self._looked = -float("inf")
        self._fault: str | None = None
        self._turn = threading.Lock()
        """Between giving copies up and coming to use them."""

    def directory(self, job_id: str) -> Path:
        """See `JobFiles`."""
        return self._directory / job_id

    def keep(self, upload: Path, job_id: str) -> None:
        """Also here: this server may be the one that runs it."""
        self._store.put(upload, f"{job_id}/{UPLOAD}")
        self.directory(job_id).mkdir()
        os.replace(upload, self.directory(job_id) / UPLOAD)

    def begin(self, job: Job) -> Path:
        """See `JobFiles`."""
        directory = self.directory(job.id)
        with self._turn:
            directory.mkdir(exist_ok=True)
            os.utime(directory)
        directories.empty(directory, UPLOAD)
        if not (directory / UPLOAD).exists():
            self._store.get(f"{job.id}/{UPLOAD}", directory / UPLOAD)
        return directory

    def publish(self, job: Job, stems: StemSet) -> int:
        """See `JobFiles`."""
        paths = sorted(stems.directory.iterdir(), key=lambda path: path.name == MANIFEST)
        try:
            for path in paths:
                self._store.put(path, f"{_result(job)}/{path.name}")
            if not stems.directory.exists():
                raise FileNotFoundError(f"{stems.directory} was deleted while it was stored")
            return directories.disk_use(stems.directory)
        except BaseException:  # the job was deleted, for instance, or is another server's by now
            with contextlib.suppress(OSError):
                self._store.delete(_result(job))
            raise

    def settle(self, job: Job) -> None:
        """See `JobFiles`."""
        directory = self.directory(job.id)
        with contextlib.suppress(OSError):  # it is there already: somebody asked for it at once
            os.replace(directory / STEMS, self._local(job))
        directories.empty(directory, self._local(job).name)
        try:
            for name in self._store.names(job.id):
                if f"{job.id}/{name}" != _result(job):
                    self._store.delete(f"{job.id}/{name}")
        except OSError as error:
            log.warning("what a job no longer needs stays in the store until it is deleted (%s)", error)

    def retract(self, job: Job) -> None:
        """See `JobFiles`."""
        directories.discard(self.directory(job.id))
        with contextlib.suppress(OSError):
            self._store.delete(_result(job))

    def stems(self, job: Job, names: Collection[str] | None = None) -> StemSet:
        """What is not here yet is fetched."""
        local = self._local(job)
        with self._turn:
            local.mkdir(parents=True, exist_ok=True)
            os.utime(local.parent)
        self._fetch(job, MANIFEST)
        stems = StemSet.open(local)
        for name in [file.name for file in stems.files] if names is None else names:
            self._fetch(job, name)
        return stems

    def _fetch(self, job: Job, name: str) -> None:
        target = self._local(job) / name
        if not target.exists():
            self._store.get(f"{_result(job)}/{name}", target)

    def _local(self, job: Job) -> Path:
        """Where the result is on this server, as far as it is."""
        return self.directory(job.id) / f"run-{job.run}"

    def discard(self, job_id: str) -> None:
        """What cannot be deleted in the store now is an orphan that is swept away later."""
        self.forget(job_id)
        try:
            self._store.delete(job_id)
        except OSError as error:
            log.warning("files of a deleted job stay in the store for a while (%s)", error, extra={"job": job_id})

    def forget(self, job_id: str) -> None:
        """See `JobFiles`."""
        directories.discard(self.directory(job_id))

    def disk_bytes(self, job_id: str, stored_bytes: int) -> int:
        """See `JobFiles`."""
        return directories.disk_use(self.directory(job_id)) + stored_bytes

    def clean(self, jobs: Sequence[Job], *, keep_unknown: bool) -> None:
        """Everything here is a copy, or was work in progress."""
        for entry in self._directory.iterdir():
            shutil.rmtree(entry, ignore_errors=True)

    def exists(self, job_id: str) -> bool:
        """See `JobFiles`."""
        return True

    def unused(self) -> list[str]:
        """See `JobFiles`."""
        found = []
        for entry in self._directory.iterdir():
            with contextlib.suppress(OSError):  # deleted meanwhile
                found.append((entry.stat().st_mtime, directories.disk_use(entry), entry.name))
        found.sort()
        excess = sum(size for _, size, _ in found) - self._cache_bytes
        given_up = []
        for used, size, name in found:
            if excess <= 0 or time.time() - used < _UNUSED_S:
                break
            given_up.append(name)
            excess -= size
        return given_up

    def give_up(self, job_id: str) -> None:
        """See `JobFiles`."""
        directory = self.directory(job_id)
        with self._turn, contextlib.suppress(FileNotFoundError):
            if time.time() - directory.stat().st_mtime >= _UNUSED_S:
                directories.discard(directory)

    def sweep(self, known: Callable[[], Collection[str]]) -> None:
        """See `JobFiles`."""
        if time.monotonic() - self._swept < _SWEEP_S:
            return
        for name in set(self._store.names()) - set(known()):
            if self._store.age_s(name) > ORPHAN_S:
                log.info("files in the store that belong to no job are deleted: %s", name)
                self._store.delete(name)
        self._swept = time.monotonic()

    def fault(self) -> str | None:
        """See `JobFiles`."""
        if time.monotonic() - self._looked > _LOOK_S or self._fault:
            self._fault, self._looked = self._store.fault(), time.monotonic()
        return self._fault


def _result(job: Job) -> str:
    """The folder of what a run has made."""
    return f"{job.id}/run-{job.run}"
