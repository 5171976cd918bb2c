"""The default of --concurrency: CPUs that a process may use, by its affinity and by the quota of its control group."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

import pytest

from aiotask.daemon.cpus import allowed_cpus, cpu_count

#: Content of /proc/self/cgroup, files below /sys/fs/cgroup, CPUs.
QUOTAS: dict[str, tuple[str, dict[str, str], float]] = {
    "version 2, no quota": ("0::/", {"cpu.max": "max 100000"}, inf),
    "version 2, of a container": ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    "version 2, of a group above": (
        "0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0
    ),
    "version 2, the smallest": ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
    "version 2, the path of the host": ("0::/docker/1234", {"cpu.max": "300000 100000"}, 3.0),
    "beside version 1": ("1:memory:/\n0::/a", {"unified/a/cpu.max": "200000 100000"}, 2.0),
    "version 1": (
        "4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "50000"}, 2.0
    ),
    "version 1, no quota": (
        "4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, inf
    ),
    "version 1, mounted by a link": (
        "4:cpuacct,cpu:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0
    ),
    "of another subject": ("4:cpuset:/", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, inf),
    "no files": ("0::/\n4:cpu:/", {}, inf),
    "other words": ("0::/", {"cpu.max": "a lot"}, inf),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "files", "expected"), QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_process(tmp_path: Path, groups: str, files: dict[str, str], expected: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert allowed_cpus(f"{groups}\n", tmp_path) == expected


def test_there_is_one_cpu_at_least_and_no_more_than_affinity_allows() -> None:
    assert 1 <= cpu_count() <= len(os.sched_getaffinity(0))
