"""Threads follow what the process was granted, not what the host has."""

from __future__ import annotations

import os

import pytest

from unmingle.model.threads import _cgroup_cores, _own_cgroups, usable_cores


@pytest.mark.parametrize(
    "file,text,cores",
    [
        ("cpu.max", "150000 100000\n", 2),
        ("cpu.max", "50000 100000\n", 1),
        ("cpu.max", "max 100000\n", None),
        ("cpu.max", "nonsense\n", None),
        ("cpu/cpu.cfs_quota_us", "-1\n", None),
        ("cpu/cpu.cfs_quota_us", "300000\n", 3),
    ],
)
def test_quota_of_either_cgroup_version(tmp_path, file, text, cores):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    if file.startswith("cpu/"):
        (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert _cgroup_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("membership", "quota_at", "file", "text"),
    [
        ("0::/system.slice/unmingle.service\n", "system.slice/unmingle.service", "cpu.max", "150000 100000\n"),
        ("0::/kubepods.slice/pod1/container\n", "kubepods.slice/pod1", "cpu.max", "150000 100000\n"),
        ("3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n", "cpu/docker/abc", "cpu.cfs_quota_us", "150000\n"),
        ("0::/\n", ".", "cpu.max", "150000 100000\n"),
    ],
)
def test_a_quota_is_found_in_whatever_group_it_stands(tmp_path, membership, quota_at, file, text):
    root = tmp_path / "cgroup"
    (root / quota_at).mkdir(parents=True)
    (root / quota_at / file).write_text(text)
    (root / quota_at / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "membership").write_text(membership)
    quotas = [_cgroup_cores(group) for group in _own_cgroups(root, tmp_path / "membership")]
    assert [quota for quota in quotas if quota is not None] == [2]


def test_no_more_than_the_host_has():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_counts():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
