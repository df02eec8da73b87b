"""How many threads this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores() -> int:
    """Cores granted by CPU affinity and by the quotas of cgroups, whichever is least; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _own_cgroups() if (quota := _cgroup_cores(group)) is not None]
    return max(1, min([affinity, *quotas]))


def _own_cgroups(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """The groups of this process, from the innermost outwards: each may have a quota, and the least counts.

    In a container, the group that it has as its root is all there is to be seen. Under systemd, or in a pod whose
    cgroups are the node's, the quota stands further inwards.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    yield root
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if controllers else []
        if names and "cpu" not in names:
            continue
        base = root / "cpu" if names else root  # version 1 has a hierarchy for each controller
        inner = base / path.lstrip("/")
        while inner != base and base in inner.parents:
            yield inner
            inner = inner.parent


def _cgroup_cores(group: Path) -> int | None:
    """Cores that one group grants, of either version of cgroups; None without a quota."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        pass
    for place in (group, group / "cpu"):
        try:
            quota_us = int((place / "cpu.cfs_quota_us").read_text())
            return None if quota_us <= 0 else math.ceil(quota_us / int((place / "cpu.cfs_period_us").read_text()))
        except (OSError, ValueError):
            continue
    return None
