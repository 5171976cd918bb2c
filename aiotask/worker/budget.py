"""CPU time and memory that a job uses, measured where that is nearly free, and compared with the job's budget.

The CPU time of a sync job is that of its thread; the CPU time of an async job is the time for which its own steps kept
the event loop. Its memory is that of the whole process: the system measures no smaller unit.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from bisect import bisect_left
from collections import deque

from ..errors import JobTimeout
from .run import Board, Budget, Run

__all__ = [
    "LONG",
    "SHORT",
    "PeakMemory",
    "anonymous",
    "begin",
    "begin_step",
    "cpu_words",
    "end",
    "end_step",
    "memory_words",
    "over_cpu",
    "resident",
    "thread_cpu",
]

#: Seconds: a run that took less than SHORT is not measured; of a run that took LONG or more, memory is measured too.
SHORT = 0.001
LONG = 0.05
_PAGE = resource.getpagesize()
#: Seconds for which a reading of the peak is used again.
_FRESH = 0.01
_READINGS = 1000


class PeakMemory:
    """The largest size of this process in any stretch of time, from the system's high-water mark.

    The mark is read and reset now and then, so the peak of a job is that since the last reading before the job, which
    is at most some 50 ms of jobs earlier. Where the mark cannot be reset (macOS), the peak is that of the process's
    whole life. Safe to call from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: (time of the reading, bytes), from large to small, since a reading replaces the smaller ones before it.
        self._readings: deque[tuple[float, int]] = deque(maxlen=_READINGS)

    def since(self, start: float) -> int:
        """The largest size in bytes since ``start`` (monotonic clock)."""
        with self._lock:
            now = time.monotonic()
            readings = self._readings
            if not readings or now - readings[-1][0] > _FRESH:
                peak = _read_peak()
                while readings and readings[-1][1] <= peak:
                    readings.pop()
                readings.append((now, peak))
            at = bisect_left(readings, (start, 0))
            return readings[min(at, len(readings) - 1)][1]


def _read_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(fd, b"5")
        finally:
            os.close(fd)
    except OSError:
        pass
    return peak if sys.platform == "darwin" else peak * 1024


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 for another process where the system does not report it."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        if pid != "self":
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def anonymous(pid: int | str = "self") -> int:
    """Bytes that a process has allocated and touched, without mapped files; 0 where the system does not report it."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            numbers = file.read().split()
    except OSError:
        return 0
    return (int(numbers[1]) - int(numbers[2])) * _PAGE


_TICK = os.sysconf("SC_CLK_TCK")


def thread_cpu(pid: int, thread: int) -> float:
    """Seconds of CPU that a thread has used, to 10 ms; 0 where the system does not report it."""
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
            numbers = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / _TICK


# ---- the budget of a run


def begin(run: Run, board: Board, again: tuple[float, float]) -> None:
    """Give a run that has just started the budget of its task.

    Args:
        again: seconds until the next run of the job if this run is ended for its CPU time, and for its memory (-1: the
            job fails).
    """
    task = run.task
    sync = not task.is_async
    run.budget = Budget(
        threading.get_native_id() if sync else 0,
        task.cpu or 0.0,
        time.thread_time() if sync and task.cpu else 0.0,
        again[0],
        0.0 if sync or not task.cpu else run.started_mono + task.cpu,
        task.memory or 0,
        anonymous() if task.memory else 0,
        again[1],
    )
    board.limit(run.slot, run.job.id, run.budget)


def over_cpu(run: Run, board: Board | None = None) -> bool:
    """Whether a sync run has used more CPU than it may; if so, ``run.exceeded`` is set. To be called in its thread.

    Args:
        board: records that the run is asked to end now; None: the run is not asked.
    """
    budget = run.budget
    if budget is None or not budget.cpu or time.thread_time() - budget.cpu_before < budget.cpu:
        return False
    run.exceeded = cpu_words(budget.cpu)
    if board is not None:
        board.limit(run.slot, run.job.id, budget._replace(until=time.monotonic()))
    return True


def begin_step(run: Run, board: Board, used: float) -> None:
    """Note that a step of an async run with a budget begins; the run has used ``used`` seconds of CPU before it."""
    assert run.budget is not None
    if run.budget.cpu and not run.exceeded:
        board.limit(run.slot, run.job.id, run.budget._replace(until=time.monotonic() + run.budget.cpu - used))


def end_step(run: Run, board: Board, used: float) -> bool:
    """Note that a step has ended, after ``used`` seconds of CPU in all. True: the run has just used up its budget."""
    assert run.budget is not None
    if not run.budget.cpu or run.exceeded:
        return False
    until = 0.0
    if used > run.budget.cpu:
        run.exceeded = cpu_words(run.budget.cpu)
        # From now on the run has as much time as every job that is asked to end.
        until = time.monotonic()
    board.limit(run.slot, run.job.id, run.budget._replace(until=until))
    return bool(run.exceeded)


def end(run: Run) -> None:
    """Fail an async run that has ended if its last step used up its CPU time."""
    assert run.budget is not None
    if run.budget.cpu and run.error is None and (run.cpu or 0.0) > run.budget.cpu:
        run.exceeded = cpu_words(run.budget.cpu)
        run.value, run.error = None, JobTimeout(f"{run.title} {run.exceeded}.")


def cpu_words(limit: float) -> str:
    """What errors say of a job that used up its CPU time."""
    return f"used more CPU than its limit of {limit:g} s"


def memory_words(used: float, limit: float) -> str:
    """What errors say of a job that took too much memory."""
    return f"took {used / 1e6:,.0f} MB of memory, more than its limit of {limit / 1e6:,.0f} MB"
