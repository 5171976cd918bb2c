"""What jobs cost: microseconds of CPU per job on the server and in other processes, and of wall time."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

import psutil

from ..figure import Figure
from ..server import Server

__all__ = ["Costs", "Meter", "growth"]


class Meter:
    """From its making until ``read``.

    Args:
        pid: whose CPU time is counted besides the server's, with that of its children; None: this process.
    """

    def __init__(self, server: Server, pid: int | None = None) -> None:
        self._server = server
        self._pid = pid
        self._since = self._now()

    def _now(self) -> tuple[float, float, float]:
        return self._server.cpu(), time.process_time() if self._pid is None else _used(self._pid), time.perf_counter()

    def read(self, jobs: int) -> tuple[float, float, float]:
        """Microseconds per job: the server's CPU, that of the others, and wall time."""
        server, others, wall = (1e6 * (now - then) / jobs for now, then in zip(self._now(), self._since, strict=True))
        return server, others, wall


def _used(pid: int) -> float:
    used = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                used += times.user + times.system
    return used


class Costs:
    """All readings of one part of ``scale``, by name and size."""

    def __init__(self, work: str) -> None:
        self._work = f"scale: {work}"
        self._found: dict[tuple[str, str, int], list[float]] = defaultdict(list)

    def add(self, size: int, name: str, who: str, costs: Sequence[float]) -> None:
        """One reading of a meter; ``who`` used the CPU beside the server."""
        for what, value in zip(("server CPU", f"{who} CPU", "wall time"), costs, strict=True):
            self.put(size, f"{name}: {what}", "µs per job", value)

    def put(self, size: int, name: str, unit: str, value: float) -> None:
        self._found[name, unit, size].append(value)

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(self._work, name, unit, values, more=False, at=size)
            for (name, unit, size), values in self._found.items()
        ]


def growth(figures: Sequence[Figure], name: str) -> list[Figure]:
    """How many times the CPU per job at the largest size is that at the smallest one."""
    total: dict[int, float] = defaultdict(float)
    for figure in figures:
        if figure.at is not None and figure.name.startswith(f"{name}: ") and figure.name.endswith("CPU"):
            total[figure.at] += statistics.median(figure.values)
    if len(total) < 2:
        return []
    least, most = min(total), max(total)
    what = f"{figures[0].work.removeprefix('scale: ')}, {name}: CPU per job at {most:,} over that at {least:,}"
    return [Figure("scale", what, "x", [total[most] / total[least]], more=False)]
