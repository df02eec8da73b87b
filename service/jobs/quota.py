"""How many jobs may wait or run on all servers together. What one server alone holds is in its ledger."""

from __future__ import annotations

import dataclasses
import math

from sqlalchemy import Connection, func, select

from unmingle.service.jobs.job import UNFINISHED
from unmingle.service.jobs.tables import jobs


class QuotaError(Exception):
    """One more job would be too many.

    Attributes:
        of_owner: whether for its owner, or for all.
        count: how many there are.
        most: how many there may be.
    """

    def __init__(self, of_owner: bool, count: int, most: float) -> None:
        super().__init__(f"{count} of {most:.0f} jobs")
        self.of_owner, self.count, self.most = of_owner, count, most


@dataclasses.dataclass(frozen=True)
class Quota:
    """How many jobs may wait or run, on all servers together.

    Attributes:
        of_all: owners.
        of_owner: who adds one.
    """

    of_all: float
    of_owner: float

    def check(self, connection: Connection, owner: str) -> None:
        """Raises: QuotaError: one more is too many."""
        unfinished = select(func.count()).where(jobs.c.state.in_(UNFINISHED))
        for of_owner, most, counted in (
            (True, self.of_owner, unfinished.where(jobs.c.owner == owner)),
            (False, self.of_all, unfinished),
        ):
            if not math.isinf(most) and (count := connection.execute(counted).scalar_one()) >= most:
                raise QuotaError(of_owner, count, most)
