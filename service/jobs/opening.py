"""Opens the jobs that a deployment has: its database, and where their files are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.files import JobFiles, LocalFiles
from unmingle.service.jobs.jobs import Jobs
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.store import JobStore
from unmingle.service.pipeline import Pipeline
from unmingle.service.scheduling.capacity import Ledger

_SERVER = "server-id"


@dataclasses.dataclass(frozen=True)
class Shared:
    """Attributes:
    database_url: of the database that several servers share; empty for a file in the data directory.
    store_url: of the place for files that several servers share; empty for the data directory.
    lease_s: how long a server keeps the jobs that it runs without a sign of life.
    cache_bytes: of copies of files in the store that a server keeps on its disk.
    """

    database_url: str
    store_url: str
    lease_s: float
    cache_bytes: int


def open_jobs(data_dir: Path, shared: Shared, pipeline: Pipeline, limits: JobLimits, ledger: Ledger) -> Jobs:
    """Open what there is.

    Raises:
        JobStoreError: the database cannot be used, or not together with these files.
        StoreError: the store cannot be used.
        OSError, sqlite3.Error: the directory cannot be used.
    """
    store = JobStore(shared.database_url or data_dir / "jobs.sqlite", shared.lease_s)
    try:
        files = _files(data_dir, shared)
        earlier = _earlier(data_dir, store.server)
        _agree(store, files, earlier)
    except BaseException:
        store.close()
        raise
    return Jobs(store, files, pipeline, limits, ledger, earlier if files.is_shared else None)


def _files(data_dir: Path, shared: Shared) -> JobFiles:
    if not shared.store_url:
        return LocalFiles(data_dir, beside_database=not shared.database_url)
    from unmingle.service.jobs.stored import StoredFiles
    from unmingle.service.store.objects import ObjectStore

    return StoredFiles(ObjectStore(shared.store_url), data_dir, shared.cache_bytes)


def _agree(store: JobStore, files: JobFiles, earlier: str) -> None:
    """See that the servers that share a database have the files of its jobs in one place."""
    agreed = store.members.agree_on_store(files.place, earlier)
    if agreed != files.place:
        raise JobStoreError(
            f"The jobs in {store.database.name} have their files in {agreed or 'the data directory'}, and this server "
            f"would look for them in {files.place or 'the data directory'}. Set UNMINGLE_STORE_URL as it was set for "
            "them (servers that share a database need to share a store, too), or use another database."
        )


def _earlier(data_dir: Path, server: str) -> str:
    """The server that had this directory before; empty where there was none. From now on, `server` has it."""
    path = data_dir / _SERVER
    earlier = path.read_text() if path.exists() else ""
    path.write_text(server)
    return earlier
