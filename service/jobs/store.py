"""The jobs in the database: an accepted job survives any crash, and only one server at a time runs it. Blocking.

A server that runs a job has a lease on it. The lease lasts for as long as the server gives signs of life
(`Members.beat`) in the database's clock; then any other server may claim the job. Each claim counts `run` up, and
whoever has an earlier run can no longer change the job: a server that was stopped and woke up does no harm.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, literal, or_, select, update

from unmingle.service.jobs.job import UNFINISHED, Job
from unmingle.service.jobs.members import ADDING, Members
from unmingle.service.jobs.places import open_database
from unmingle.service.jobs.quota import Quota
from unmingle.service.jobs.tables import deployment, jobs, servers

_JOB = [jobs.c[field.name] for field in dataclasses.fields(Job)]
_FINISHED = jobs.c.state.in_(("done", "failed"))


class JobStore:
    """The jobs of a deployment, as one of its servers sees them."""

    def __init__(self, place: Path | str, lease_s: float = 20.0) -> None:
        """Open the database.

        Args:
            place: a file of this server alone, or the URL of a database that several share.
            lease_s: how long a server keeps its jobs without a sign of life.

        Raises:
            JobStoreError: it cannot be used.
            OSError, sqlite3.Error: a file cannot be opened at all.
        """
        self.database = open_database(place)
        self.members = Members(self.database, lease_s)

    @property
    def server(self) -> str:
        """The id of this server."""
        return self.members.id

    @property
    def is_new(self) -> bool:
        """Whether there were no jobs before, and no table of them."""
        return self.database.is_new

    @property
    def is_shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self.database.is_shared

    def fault(self) -> str | None:
        """What is wrong with the database, if anything is."""
        return self.database.fault()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def add(
        self,
        job_id: str,
        owner: str,
        parameters: str,
        fingerprint: str,
        idempotency_key: str | None,
        audio_seconds: float | None,
        stored_bytes: int = 0,
        quota: Quota | None = None,
        traceparent: str | None = None,
    ) -> Job:
        """Keep a new job; where the owner has one with this idempotency key, that one is returned instead.

        Raises:
            QuotaError: other servers have accepted so many meanwhile that this is one too many.
        """
        with self.database.writing(ADDING) as connection:
            if idempotency_key is not None:
                found = _find(connection, _has_key(owner, idempotency_key))
                if found:
                    return found[0]
            if quota:
                quota.check(connection, owner)
            connection.execute(
                insert(jobs).values(
                    id=job_id,
                    owner=owner,
                    state="queued",
                    created=self.database.now,
                    parameters=parameters,
                    fingerprint=fingerprint,
                    idempotency_key=idempotency_key,
                    audio_seconds=audio_seconds,
                    stored_bytes=stored_bytes,
                    traceparent=traceparent,
                )
            )
            return _find(connection, jobs.c.id == job_id)[0]

    def get(self, job_id: str) -> Job | None:
        """The job, if it is kept."""
        with self.database.reading() as connection:
            return next(iter(_find(connection, jobs.c.id == job_id)), None)

    def with_key(self, owner: str, idempotency_key: str) -> Job | None:
        """The owner's job with this idempotency key, if it is kept."""
        with self.database.reading() as connection:
            return next(iter(_find(connection, _has_key(owner, idempotency_key))), None)

    def unfinished(self) -> list[Job]:
        """Jobs that wait or run, in their order."""
        with self.database.reading() as connection:
            return _find(connection, jobs.c.state.in_(UNFINISHED))

    def all(self) -> list[Job]:
        """Every job that is kept."""
        with self.database.reading() as connection:
            return _find(connection, literal(True))

    def ids(self) -> list[str]:
        """Of every job that is kept."""
        with self.database.reading() as connection:
            return list(connection.execute(select(jobs.c.id)).scalars())

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        with self.database.reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
            return {"queued": 0, "running": 0, "done": 0, "failed": 0, **{state: count for state, count in rows}}

    def claim(self, skipped: Collection[str] = ()) -> Job | None:
        """The job that is next, apart from those that are skipped; it is running here from now on.

        That is the first that is queued, or whose server has ended, or has given no sign of life for as long as a lease
        lasts.
        """
        next_one = (
            select(jobs.c.id)
            .where(or_(jobs.c.state == "queued", self.members.left()), jobs.c.id.not_in(skipped))
            .order_by(jobs.c.number)
            .limit(1)
            .with_for_update(of=jobs, skip_locked=True)
        )
        with self.database.writing() as connection:
            job_id = connection.execute(next_one).scalar()
            if job_id is None:
                return None
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    state="running",
                    attempts=jobs.c.attempts + 1,
                    run=jobs.c.run + 1,
                    server=self.server,
                    progress=0.0,
                )
            )
            return _find(connection, jobs.c.id == job_id)[0]

    def measured(self, job: Job, audio_seconds: float) -> None:
        """Store the length of a recording that is running here."""
        with self.database.writing() as connection:
            connection.execute(update(jobs).where(_held(job)).values(audio_seconds=audio_seconds))

    def requeue(self, job: Job, *, forgive: bool) -> bool:
        """A running job waits again; `forgive` does not count the attempt. False if it runs elsewhere by now."""
        with self.database.writing() as connection:
            done = connection.execute(
                update(jobs).where(_held(job)).values(state="queued", attempts=jobs.c.attempts - int(forgive))
            )
            return done.rowcount > 0

    def finish(self, job: Job, problem: dict[str, Any] | None = None, stored_bytes: int = 0) -> bool:
        """A running job is done, or failed with a problem. False if it runs elsewhere by now, or is deleted."""
        with self.database.writing() as connection:
            done = connection.execute(
                update(jobs)
                .where(_held(job))
                .values(
                    state="failed" if problem else "done",
                    problem=json.dumps(problem) if problem else None,
                    stored_bytes=stored_bytes,
                )
            )
            return done.rowcount > 0

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self.database.writing() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    def expired(self, elapsed_s: float, keep_s: float) -> list[str]:
        """Finished jobs that are older than `keep_s` after `elapsed_s` more, as `age` counts them."""
        with self.database.reading() as connection:
            step_s = self._step_s(connection, elapsed_s)
            found = select(jobs.c.id).where(_FINISHED, jobs.c.age_s + step_s > keep_s).order_by(jobs.c.number)
            return list(connection.execute(found).scalars())

    def age(self, elapsed_s: float) -> None:
        """Let finished jobs grow older.

        Args:
            elapsed_s: since this server did so last. What other servers have done meanwhile is not done again; time in
                which no server ran, and jumps of the database's clock, count for no more than this.
        """
        with self.database.writing() as connection:
            step_s = self._step_s(connection, elapsed_s)
            connection.execute(update(jobs).where(_FINISHED).values(age_s=jobs.c.age_s + step_s))
            connection.execute(update(deployment).values(aged=self.database.now))

    def _step_s(self, connection: Connection, elapsed_s: float) -> float:
        if not self.is_shared:
            return elapsed_s
        aged = select(self.database.now - deployment.c.aged).with_for_update(of=deployment)
        return max(0.0, min(elapsed_s, connection.execute(aged).scalar_one()))

    def resume(self, earlier: str | None) -> list[Job]:
        """Queue again what a server left that runs no more.

        Args:
            earlier: that server; None for all jobs that run, where no other server can be.

        Returns:
            The jobs.
        """
        left = jobs.c.state == "running" if earlier is None else _left_by(earlier)
        with self.database.writing() as connection:
            found = _find(connection, left)
            connection.execute(update(jobs).where(left).values(state="queued"))
            if earlier is not None:
                connection.execute(delete(servers).where(servers.c.id == earlier))
            return found


def _has_key(owner: str, idempotency_key: str) -> ColumnElement[bool]:
    return and_(jobs.c.owner == owner, jobs.c.idempotency_key == idempotency_key)


def _held(job: Job) -> ColumnElement[bool]:
    """The job, if this run of it is the latest."""
    return and_(jobs.c.id == job.id, jobs.c.run == job.run, jobs.c.state == "running")


def _left_by(server: str) -> ColumnElement[bool]:
    return and_(jobs.c.state == "running", jobs.c.server == server)


def _find(connection: Connection, where: ColumnElement[bool]) -> list[Job]:
    rows = connection.execute(select(*_JOB).where(where).order_by(jobs.c.number)).mappings()
    return [Job(**{**row, "problem": json.loads(row["problem"]) if row["problem"] else None}) for row in rows]
