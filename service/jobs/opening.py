"""Opens the jobs that a deployment has: its database, and where their files are."""

from __future__ import annotations

from pathlib import Path

from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.files import JobFiles, LocalFiles
from unmingle.service.jobs.jobs import Jobs
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.store import JobStore
from unmingle.service.pipeline import Pipeline
from unmingle.service.scheduling.capacity import Ledger

_SERVER = "server-id"


def open_jobs(
    data_dir: Path, database_url: str, lease_s: float, pipeline: Pipeline, limits: JobLimits, ledger: Ledger
) -> Jobs:
    """Open what there is.

    Args:
        data_dir: of this server.
        database_url: of the database that several servers share; empty for a file in `data_dir`.
        lease_s: how long a server keeps the jobs that it runs without a sign of life.
        pipeline: separates.
        limits: of jobs.
        ledger: who holds how much of what.

    Raises:
        JobStoreError: the database cannot be used, or not together with these files.
        OSError, sqlite3.Error: the directory cannot be used.
    """
    store = JobStore(database_url or data_dir / "jobs.sqlite", lease_s)
    try:
        files: JobFiles = LocalFiles(data_dir, beside_database=not database_url)
        earlier = _earlier(data_dir, store.server)
        _agree(store, files, earlier)
    except BaseException:
        store.close()
        raise
    return Jobs(store, files, pipeline, limits, ledger, earlier if files.is_shared else None)


def _agree(store: JobStore, files: JobFiles, earlier: str) -> None:
    """See that the servers that share a database have the files of its jobs in one place."""
    if not files.place:
        return
    agreed = store.agree_on_store(files.place, earlier)
    if agreed != files.place:
        raise JobStoreError(
            f"The files of the jobs in {store.database.name} are in {agreed}, which another server uses or has used, "
            f"and not in {files.place}. Servers that share a database need the same store: set UNMINGLE_STORE_URL; or "
            "use another database."
        )


def _earlier(data_dir: Path, server: str) -> str:
    """The server that had this directory before; empty where there was none. From now on, `server` has it."""
    path = data_dir / _SERVER
    earlier = path.read_text() if path.exists() else ""
    path.write_text(server)
    return earlier
