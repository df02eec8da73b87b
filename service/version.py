"""The version of this installation; pyproject.toml is the only place that states it."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def version() -> str:
    """The installed package's version; in a checkout that is not installed, the one in its pyproject.toml."""
    try:
        return metadata.version("unmingle")
    except metadata.PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
        return f"{project['project']['version']}+checkout"
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"
