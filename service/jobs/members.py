"""The servers that share a database: their signs of life, on which the leases on their jobs depend. Blocking."""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
from collections.abc import Mapping

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, literal, or_, select, update

from unmingle.service.jobs.database import Database
from unmingle.service.jobs.job import Standing
from unmingle.service.jobs.tables import deployment, jobs, servers

ADDING = 7_251_902
"""Number of the lock under which jobs are added one after the other: their limits and keys hold across servers."""

_FORGOTTEN_S = 86_400.0
_STANDING = [jobs.c[field.name] for field in dataclasses.fields(Standing)]


class Members:
    """The servers, as one of them sees them.

    Attributes:
        id: of this server, until it ends.
    """

    def __init__(self, database: Database, lease_s: float) -> None:
        """Args: lease_s: how long a server keeps its jobs without a sign of life."""
        self._database, self._lease_s = database, lease_s
        self.id = secrets.token_hex(8)
        self._beaten, self._steady_since = -math.inf, math.inf
        """When the last sign of life was given, and since when there was no long pause between them."""

    def beat(self, runs: Mapping[str, tuple[int, float]]) -> list[Standing]:
        """Give a sign of life, which extends the leases on all jobs that run here, and see how all jobs stand.

        Args:
            runs: (run, progress) of the jobs that run here, by their ids.
        """
        with self._database.writing() as connection:
            seen = {"seen": self._database.now}
            if not connection.execute(update(servers).where(servers.c.id == self.id).values(seen)).rowcount:
                connection.execute(insert(servers).values(id=self.id, **seen))
                connection.execute(delete(servers).where(servers.c.seen < self._database.now - _FORGOTTEN_S))
            for job_id, (run, progress) in runs.items():
                mine = and_(jobs.c.id == job_id, jobs.c.run == run, jobs.c.progress != progress)
                connection.execute(update(jobs).where(mine).values(progress=progress))
        now = time.monotonic()
        if now - self._beaten > self._lease_s / 2:
            self._steady_since = now
        self._beaten = now
        with self._database.reading() as connection:
            return [Standing(*row) for row in connection.execute(select(*_STANDING).order_by(jobs.c.number))]

    def leave(self) -> None:
        """This server ends, and holds no lease any more."""
        with self._database.writing() as connection:
            connection.execute(delete(servers).where(servers.c.id == self.id))

    def alive(self) -> int:
        """How many servers are alive."""
        if not self._database.is_shared:
            return 1
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).where(self.is_alive())).scalar_one()

    def left(self) -> ColumnElement[bool]:
        """Of a row of jobs: the server that ran it has ended, or its lease is over.

        Where leases are over because nobody could give a sign of life for a while, the servers first get the time to.
        """
        steady = time.monotonic() - self._steady_since >= self._lease_s
        keeps = exists().where(servers.c.id == jobs.c.server, or_(literal(not steady), self.is_alive()))
        return and_(jobs.c.state == "running", jobs.c.server != self.id, ~keeps)

    def agree_on_store(self, place: str, earlier: str) -> str:
        """Where the files of the jobs are: `place`, unless there are jobs or servers that have them elsewhere.

        Args:
            place: where this server has them; empty for beside the database.
            earlier: the server before this one, which is alive no more, whatever the database says.
        """
        with self._database.writing(ADDING) as connection:
            agreed = connection.execute(select(deployment.c.store).with_for_update()).scalar() or ""
            others = exists().where(self.is_alive(), servers.c.id != earlier)
            in_use = select(or_(exists(select(jobs.c.id)), others))
            if agreed != place and connection.execute(in_use).scalar():
                return str(agreed)
            connection.execute(update(deployment).where(deployment.c.store != place).values(store=place))
            return place

    def is_alive(self) -> ColumnElement[bool]:
        """Of a row of servers: its lease is not over."""
        return servers.c.seen > self._database.now - self._lease_s
