"""The workers of a deployment that are on the machines of a Ray cluster."""

from __future__ import annotations

import collections
import contextlib
import logging
import secrets
import time
import weakref
from pathlib import Path

from unmingle.service.scheduling.scaling import Scaling, ScalingRule
from unmingle.service.settings import Settings
from unmingle.service.workers.messages import ModelFacts, Terms
from unmingle.service.workers.on_ray import cluster
from unmingle.service.workers.on_ray.cluster import ClusterError, Share
from unmingle.service.workers.on_ray.host import Sign
from unmingle.service.workers.on_ray.worker import RayWorker
from unmingle.service.workers.staging import Staging

log = logging.getLogger(__name__)

_LOOK_S = 0.2


class StaffOnRay:
    """A `Staff`: workers on Ray, which load the model as soon as there is room for them."""

    def __init__(self, settings: Settings, terms: Terms) -> None:
        """Connect to the cluster and hire the first workers.

        Raises:
            ClusterError: there is no cluster at the address.
            StoreError: there is a store, and it cannot be used.
        """
        self._settings, self._terms = settings, terms
        self._share = Share(settings.ray_cpus, settings.ray_gpus)
        self._facts: ModelFacts | None = None
        cluster.connect(settings.ray_address, settings.ray_start_s)
        self._sign = self._put_sign(settings.data_dir)
        self._staging = _staging_of(settings)
        self.batch_sizes: collections.Counter[int] = collections.Counter()
        self.workers = [self.hire() for _ in range(settings.ray_workers)]
        self._warn()

    @property
    def scaling(self) -> Scaling | None:
        """How many workers there should be; None for always the same number."""
        settings = self._settings
        most = settings.ray_max_workers or settings.ray_workers
        if most <= settings.ray_workers:
            return None
        rule = ScalingRule(settings.ray_workers, most, settings.ray_seconds_per_worker, settings.ray_idle_s)
        return Scaling(rule)

    def hire(self) -> RayWorker:
        """Start one more."""
        silence_s = self._settings.worker_silence_s
        return RayWorker(self._terms, self._share, self._sign, self._staging, silence_s, self.batch_sizes, self._facts)

    def facts(self) -> ModelFacts:
        """What model they have. Blocking, until the first of them has it; once, before an event loop begins.

        Raises:
            ClusterError: the cluster has no room for the workers, or they cannot begin there.
            ModelError: the model cannot be used.
        """
        settings = self._settings
        give_up = time.monotonic() + settings.ray_start_s
        while (found := cluster.room(self._share)) < settings.ray_workers:
            if time.monotonic() > give_up:
                raise ClusterError(
                    f"The Ray cluster has {cluster.holdings()}: room for {found} workers of {self._share}, and "
                    f"{settings.ray_workers} are wanted. Add machines, or lower UNMINGLE_RAY_WORKERS, "
                    "UNMINGLE_RAY_CPUS or UNMINGLE_RAY_GPUS."
                )
            time.sleep(_LOOK_S)
        self._facts = self.workers[0].facts(
            max(1.0, give_up - time.monotonic()),
            lambda: f"the cluster has {cluster.holdings()}, and a worker takes {self._share}.",
        )
        return self._facts

    def _put_sign(self, directory: Path) -> Sign:
        sign = Sign(directory / f"sign-{secrets.token_hex(8)}", secrets.token_hex(16))
        try:
            directory.mkdir(parents=True, exist_ok=True)
            sign.path.write_text(sign.content)
        except OSError as error:
            raise ClusterError(
                f"The data directory {directory} cannot be written ({error.strerror}); set UNMINGLE_DATA_DIR to one "
                "that can, and that the machines of the Ray cluster share."
            ) from error
        weakref.finalize(self, _remove, sign.path)
        return sign

    def _warn(self) -> None:
        settings = self._settings
        most = settings.ray_max_workers or settings.ray_workers
        if settings.workers + settings.job_workers < most:
            log.warning(
                "UNMINGLE_WORKERS and UNMINGLE_JOB_WORKERS let %d recordings be separated at the same time, fewer than "
                "the %d workers on Ray; raise them",
                settings.workers + settings.job_workers,
                most,
            )


def _staging_of(settings: Settings) -> Staging | None:
    """For workers with another disk, where there is a store.

    Raises:
        StoreError: it cannot be used.
    """
    if not settings.store_url:
        return None
    return Staging(settings.store_url, settings.data_dir, settings.data_dir / "spool")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
