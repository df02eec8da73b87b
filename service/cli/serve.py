"""The start of the server. Its workers are started first, and load the model while this process loads the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from unmingle.service import logs, memory, tracing
from unmingle.service.settings import read_settings, unknown_in_environment
from unmingle.service.workers.staff import staff_of

log = logging.getLogger(__name__)


def serve(given: Mapping[str, Any]) -> None:
    """Run the server until it is told to stop.

    Args:
        given: settings that come before those of the environment.

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
    memory.bound_arenas()  # before there are threads
    if settings.traces_url:
        tracing.configure(settings.traces_url, "unmingle")
    staff = staff_of(settings)
    from unmingle.service.server import run

    try:
        run(settings, staff)
    finally:
        tracing.finish()
