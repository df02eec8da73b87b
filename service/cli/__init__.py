"""The `unmingle` command."""

from __future__ import annotations

from unmingle.service.cli.command import main

__all__ = ["main"]
