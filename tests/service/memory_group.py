"""A control group of Linux that holds processes to so much memory: the kernel ends one of them when it is used up."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Made by whoever may; a test that may not is skipped."""

    def __init__(self, most_bytes: int) -> None:
        second_version = (_ROOT / "cgroup.controllers").exists()
        parent, limit = (_ROOT, "memory.max") if second_version else (_ROOT / "memory", "memory.limit_in_bytes")
        self._place = parent / f"unmingle-{secrets.token_hex(4)}"
        try:
            if second_version:
                (parent / "cgroup.subtree_control").write_text("+memory")
            self._place.mkdir()
            (self._place / limit).write_text(str(most_bytes))
        except OSError as error:
            self.close()
            pytest.skip(f"this user may make no control group ({error})")

    def add(self, process: int) -> None:
        """From now on, and the processes that it starts."""
        (self._place / "cgroup.procs").write_text(str(process))

    def close(self) -> None:
        """Once all in it have ended."""
        give_up = time.monotonic() + 10
        while self._place.exists():
            try:
                self._place.rmdir()
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
