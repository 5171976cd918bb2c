"""What every task does, whichever queue runs it, and the marks that it leaves. Standard library only.

A worker process writes files of its own, so that no queue has a part in the account of what ran: ``PID.count`` is
mapped into memory (runs, first and last time), which costs a no-op less than a microsecond; ``PID.log`` is appended to,
with a record for each start and end. Both outlive ``kill -9``.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import threading
import time
from pathlib import Path

from .order import NAP

__all__ = ["ASYNC", "COUNT", "RECORD", "SYNC", "anap", "anoop", "nap", "noop", "spin"]

#: Runs, time of the first and of the last one.
COUNT = struct.Struct("<ddd")
#: Number of the job, 0 for its start and 1 for its end, wall time, CPU seconds.
RECORD = struct.Struct("<iidd")

_lock = threading.Lock()
_count: memoryview | None = None
_log = -1


def _forget() -> None:
    """A child writes its own files."""
    global _lock, _count, _log
    _lock, _count, _log = threading.Lock(), None, -1


os.register_at_fork(after_in_child=_forget)


def _file(kind: str, flags: int) -> int:
    path = Path(os.environ["AIOTASK_PEER_MARKS"], f"{os.getpid()}.{kind}")
    return os.open(path, flags | os.O_CREAT, 0o600)


def _mapped() -> memoryview:
    global _count
    descriptor = _file("count", os.O_RDWR)
    os.ftruncate(descriptor, COUNT.size)
    _count = memoryview(mmap.mmap(descriptor, COUNT.size)).cast("d")
    os.close(descriptor)
    return _count


def _ran() -> None:
    with _lock:
        count = _count or _mapped()
        now = time.time()
        if not count[0]:
            count[1] = now
        count[2] = now
        count[0] += 1


def _note(job: int, end: int, cpu: float = 0.0) -> None:
    global _log
    if _log < 0:
        with _lock:
            if _log < 0:
                _log = _file("log", os.O_WRONLY | os.O_APPEND)
    os.write(_log, RECORD.pack(job, end, time.time(), cpu))


def noop() -> int:
    _ran()
    return 1


async def anoop() -> int:
    _ran()
    return 1


def nap(job: int) -> int:
    _note(job, 0)
    time.sleep(NAP)
    _note(job, 1)
    return job


async def anap(job: int) -> int:
    _note(job, 0)
    await asyncio.sleep(NAP)
    _note(job, 1)
    return job


def spin(job: int, steps: int) -> int:
    """Pure Python work."""
    _note(job, 0)
    began = time.thread_time()
    total = 0
    for step in range(steps):
        total += step & 7
    _note(job, 1, time.thread_time() - began)
    return total


ASYNC = {"noop": anoop, "nap": anap}
SYNC = {"noop": noop, "nap": nap}
