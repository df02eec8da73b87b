"""The workers of a deployment: those it begins with, and those that come later or in place of lost ones."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from unmingle.model.errors import UnmingleError
from unmingle.model.threads import usable_cores
from unmingle.service.scheduling.scaling import Scaling
from unmingle.service.scheduling.work import Lane
from unmingle.service.scheduling.worker import Worker
from unmingle.service.settings import Settings
from unmingle.service.workers.here import HereWorker
from unmingle.service.workers.messages import ModelFacts, Terms

_PACKING, _VIEWS = 4, 2
"""Answers of stems that are there, and pictures and points, that are made at the same time, beside separations."""
_BEATS = 10
"""Signs of life within the longest silence."""


class Staff(Protocol):
    """The workers that the settings ask for; they load the model from now on.

    Attributes:
        batch_sizes: how many calls of the network had how many segments, in all workers together.
    """

    batch_sizes: collections.Counter[int]

    @property
    def workers(self) -> Sequence[Worker]:
        """The first ones."""
        ...

    @property
    def scaling(self) -> Scaling | None:
        """How many there should be; None for always as many as the first ones."""
        ...

    def hire(self) -> Worker:
        """Start one more."""
        ...

    def facts(self) -> ModelFacts:
        """What model they have. Blocking, until the first of them has it; once, before an event loop begins.

        Raises:
            UnmingleError: it cannot be used, or the workers cannot begin.
        """
        ...


@contextmanager
def ray_is_there() -> Iterator[None]:
    """Around imports of what imports Ray.

    Raises:
        UnmingleError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise UnmingleError("Ray is wanted, and is not installed: pip install 'unmingle[cluster]'") from error


def staff_of(settings: Settings) -> Staff:
    """Processes here or on Ray, as the settings say.

    Raises:
        UnmingleError: Ray is wanted, and is not installed or not there.
    """
    if not settings.ray_address:
        return StaffHere(settings)
    with ray_is_there():
        from unmingle.service.workers.on_ray.staff import StaffOnRay
    return StaffOnRay(settings, terms_of(settings, settings.ray_cpus))


class StaffHere:
    """A `Staff`: processes on this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._terms = terms_of(settings, max(1, usable_cores() // settings.worker_processes))
        self.batch_sizes: collections.Counter[int] = collections.Counter()
        self.workers = [self.hire() for _ in range(settings.worker_processes)]
        self.scaling = None

    def hire(self) -> HereWorker:
        """Start one more."""
        return HereWorker(self._terms, self._settings.worker_silence_s, self.batch_sizes)

    def facts(self) -> ModelFacts:
        """See `Staff`.

        Raises:
            ModelError: it cannot be used.
        """
        return self.workers[0].facts()


def lanes(settings: Settings) -> Mapping[Lane, int]:
    """How many recordings of each lane are worked on at the same time.

    Jobs have workers of their own, so that an hour of audio does not keep short requests waiting.
    """
    return {
        "requests": settings.workers,
        "jobs": settings.job_workers,
        "parts": 1,  # with every worker
        "packing": _PACKING,
        "views": _VIEWS,
    }


def terms_of(settings: Settings, cores: int) -> Terms:
    """How a worker is to work that has so many cores."""
    return Terms(
        model=settings.model.absolute() if settings.model else None,
        refiner=settings.refiner.absolute() if settings.refiner else None,
        device=settings.device,
        threads=settings.threads or cores,
        gpu_memory_bytes=settings.gpu_memory_bytes,
        at_once=sum(lanes(settings).values()),
        beat_s=min(1.0, settings.worker_silence_s / _BEATS),
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
