"""Which jobs of a process use more than they may, as its supervisor sees it, whatever thread holds the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...worker.budget import anonymous, cpu_words, memory_words, thread_cpu
from ..board import Started

__all__ = ["Excess", "excesses"]


class Excess(NamedTuple):
    """Why a job has to end: seconds until its next run (-1: it fails); time, cancel, cpu or memory; in words."""

    again: float
    kind: str
    words: str


def excesses(pid: int, started: Sequence[Started], now: float, tolerance: float) -> dict[str, Excess]:
    """Excesses by job id. A job that can end by itself gets ``tolerance`` seconds for that; memory is no such limit."""
    found = {}
    used: int | None = None
    for job in started:
        limits = job.limits
        if job.deadline and now > job.deadline + tolerance:
            kind = "cancel" if job.cancelled else "time"
            found[job.id] = Excess(job.again, kind, "ran longer than its time limit")
        elif limits is not None and limits.cpu and _burns(pid, job, now, tolerance):
            found[job.id] = Excess(limits.cpu_again, "cpu", cpu_words(limits.cpu))
        elif limits is not None and limits.memory and limits.memory_before:
            used = anonymous(pid) if used is None else used
            if (grown := used - limits.memory_before) > limits.memory:
                found[job.id] = Excess(limits.memory_again, "memory", memory_words(grown, limits.memory))
    return found


def _burns(pid: int, job: Started, now: float, tolerance: float) -> bool:
    limits = job.limits
    assert limits is not None
    if limits.until or not limits.thread:
        return 0.0 < limits.until < now - tolerance
    if now - job.since <= limits.cpu + tolerance:
        return False
    return thread_cpu(pid, limits.thread) - limits.cpu_before > limits.cpu + tolerance
