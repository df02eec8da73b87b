"""The start of the server. Its workers are started first, and load the model while this process loads the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from unmingle.service import logs, memory, tracing
from unmingle.service.settings import Settings, SettingsError, read_settings, unknown_in_environment
from unmingle.service.workers.staff import ray_is_there, staff_of

log = logging.getLogger(__name__)


def serve(given: Mapping[str, Any], *, through_ray: bool = False) -> None:
    """Run the server until it is told to stop.

    Args:
        given: settings that come before those of the environment.
        through_ray: whether Ray Serve is to answer, on the cluster of UNMINGLE_RAY_ADDRESS.

    Raises:
        SettingsError: a setting is not valid.
        TracingError: traces are wanted, and what that needs is not installed.
        ModelError: the model cannot be used.
        DataDirError: the data directory cannot be used.
    """
    settings = read_settings(given)
    logs.configure(settings.log_format, settings.log_level)
    for name in unknown_in_environment():
        log.warning("%s is not a setting and has no effect; `unmingle settings` lists them all", name)
    if through_ray:
        _serve_through_ray(settings)
        return
    memory.bound_arenas()  # before there are threads
    if settings.traces_url:
        tracing.configure(settings.traces_url, tracing.FRONT)
    staff = staff_of(settings)
    from unmingle.service.server import run

    try:
        run(settings, staff)
    finally:
        tracing.finish()


def _serve_through_ray(settings: Settings) -> None:
    if not settings.ray_address:
        raise SettingsError("`unmingle serve --ray` needs UNMINGLE_RAY_ADDRESS: auto, host:port or ray://host:port.")
    with ray_is_there():
        from unmingle.service import ray_serve
    ray_serve.run(settings)
