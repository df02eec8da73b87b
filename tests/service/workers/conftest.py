"""A Ray cluster for each module that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.ray_cluster import RayCluster


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the second node does not share."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> Iterator[RayCluster]:
    running = RayCluster(tmp_path_factory.mktemp("cluster") / "log.txt")
    running.hide(elsewhere)
    running.add()
    yield running
    running.close()
