"""How many threads this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores granted by CPU affinity and by the cgroup's quota, whichever is less; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _cgroup_cores(Path("/sys/fs/cgroup")) or affinity))


def _cgroup_cores(root: Path) -> int | None:
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return None if quota_us <= 0 else math.ceil(quota_us / int((root / "cpu/cpu.cfs_period_us").read_text()))
    except (OSError, ValueError):
        return None
