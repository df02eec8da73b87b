"""A look at the first bytes of an upload, before any decoder sees it."""

from __future__ import annotations

from pathlib import Path

from unmingle.model.errors import FileError
from unmingle.model.reading.header import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioHeader
from unmingle.model.reading.identify import identify
from unmingle.model.recording import MAX_CHANNELS
from unmingle.service.problems import from_exception

__all__ = ["MAX_CHANNELS", "MAX_SAMPLE_RATE", "MIN_SAMPLE_RATE", "AudioHeader", "inspect"]


def inspect(path: Path) -> AudioHeader:
    """Read and check the header of an upload.

    Raises:
        Problem: empty, not a format that we read, or with a sample rate or channels outside the limits.
    """
    try:
        with path.open("rb") as file:
            return identify(file)
    except FileError as error:
        raise from_exception(error) from error
