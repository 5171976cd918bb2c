"""How many CPUs this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

__all__ = ["allowed_cpus", "cpu_count"]

_ROOT = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """CPUs that this process may use: by its affinity, and by the quota of its control group, rounded up.

    A container with ``--cpus=1`` sees all CPUs of its host, and is held back when it uses more than that one.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return count
    return max(1, ceil(min(count, allowed_cpus(groups, _ROOT))))


def allowed_cpus(groups: str, root: Path) -> float:
    """The smallest quota of the control groups of a process and of those above them, in CPUs; infinite without one.

    Args:
        groups: as in /proc/PID/cgroup.
        root: where control groups are mounted, in version 1 or 2.
    """
    allowed = float("inf")
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            for base in (root, root / "unified"):
                for folder in _upwards(base, group):
                    allowed = min(allowed, _quota(*_words(folder / "cpu.max", 2)))
        elif "cpu" in controllers.split(","):
            for base in (root / controllers, root / "cpu"):
                for folder in _upwards(base, group):
                    quota, period = _words(folder / "cpu.cfs_quota_us", 1), _words(folder / "cpu.cfs_period_us", 1)
                    allowed = min(allowed, _quota(*quota, *period))
    return allowed


def _upwards(base: Path, group: str) -> Iterator[Path]:
    """The folder of a control group and of those above it. Inside a container some of them may not be there."""
    folder = base / group.strip("/")
    while True:
        yield folder
        if folder == base:
            return
        folder = folder.parent


def _words(path: Path, count: int) -> list[str]:
    """The words in a file; as many empty ones where it cannot be read."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    return words if len(words) == count else [""] * count


def _quota(quota: str, period: str) -> float:
    """CPUs; both numbers are microseconds."""
    if not quota.isdecimal() or not period.isdecimal() or not int(quota) or not int(period):
        return float("inf")
    return int(quota) / int(period)
