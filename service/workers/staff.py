"""The worker processes of a deployment: those it begins with, and those that come in place of lost ones."""

from __future__ import annotations

import collections

from unmingle.model.threads import usable_cores
from unmingle.service.scheduling.work import Lane
from unmingle.service.settings import Settings
from unmingle.service.workers.here import HereWorker
from unmingle.service.workers.messages import ModelFacts, Terms

_PACKING, _VIEWS = 4, 2
"""Answers of stems that are there, and pictures and points, that are made at the same time, beside separations."""
_BEATS = 10
"""Signs of life within the longest silence."""


def lanes(settings: Settings) -> dict[Lane, int]:
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


class Staff:
    """The workers that the settings ask for; they load the model from now on.

    Attributes:
        workers: the first ones.
        batch_sizes: how many calls of the network had how many segments, in all workers together.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.batch_sizes: collections.Counter[int] = collections.Counter()
        self.workers = [self.hire() for _ in range(settings.worker_processes)]

    def hire(self) -> HereWorker:
        """Start one more."""
        settings = self._settings
        terms = Terms(
            model=settings.model.absolute() if settings.model else None,
            device=settings.device,
            threads=settings.threads or max(1, usable_cores() // settings.worker_processes),
            gpu_memory_bytes=settings.gpu_memory_bytes,
            at_once=sum(lanes(settings).values()),
            beat_s=min(1.0, settings.worker_silence_s / _BEATS),
            log_format=settings.log_format,
            log_level=settings.log_level,
        )
        return HereWorker(terms, settings.worker_silence_s, self.batch_sizes)

    def facts(self) -> ModelFacts:
        """What model they have. Blocking, until the first of them has it; once, before an event loop begins.

        Raises:
            ModelError: it cannot be used.
        """
        return self.workers[0].facts()
