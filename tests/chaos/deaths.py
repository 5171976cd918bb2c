"""When each process of the arena died: seen by the kernel's notice, or noted by who killed it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ledger import Attempt

__all__ = ["Deaths"]

#: Seconds between two looks for new processes, and (where the kernel sends no notice) for gone ones.
_LOOK = 0.05
#: Seconds within which the outcome of a run that has ended is recorded.
_RECORDED = 1.0


class Deaths:
    """Watches processes from a thread of its own.

    Args:
        alive: the processes there are now.
    """

    def __init__(self, alive: Callable[[], Iterable[int]]) -> None:
        self._alive = alive
        self._times: dict[int, list[float]] = defaultdict(list)
        #: Of deaths that were noticed: when the process was last known to live.
        self._lived: dict[tuple[int, float], float] = {}
        #: When a process was last sent a signal that ends it.
        self._killed: dict[int, float] = {}
        #: When the look before this one began: what it did not find dead was alive then.
        self._looked_at = time.monotonic()
        self._fds: dict[int, int] = {}
        self._watched: set[int] = set()
        self._poll = select.poll()
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="deaths", daemon=True)
        self._thread.start()

    def note(self, pid: int, at: float) -> None:
        """Say, just before a process is killed, that it is killed at this moment (monotonic)."""
        with self._lock:
            self._killed[pid] = at
            self._times[pid].append(at)

    def of(self, pid: int, after: float) -> float | None:
        """When the process of this number that lived at ``after`` died; None: it lives, or nobody saw it die."""
        with self._lock:
            return min((at for at in self._times.get(pid, ()) if at >= after), default=None)

    def before(self, pid: int, after: float) -> float | None:
        """The same, at the earliest: a busy machine may notice a death late."""
        died = self.of(pid, after)
        if died is None:
            # One that lived for less than a look was not watched.
            return None if _exists(pid) else after
        return max(after, self._lived.get((pid, died), died))

    def took(self, run: Attempt) -> bool:
        """Whether a process died with a job: before the run ended, or before the outcome of the run was recorded."""
        return run.end is None or (self.of(run.pid, run.end) or math.inf) < run.end + _RECORDED

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._times)

    def _watch(self) -> None:
        looked = 0.0
        while not self._end.is_set():
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                for pid in self._alive():
                    if pid not in self._watched:
                        self._begin(pid)
            self._hear()
        for fd in self._fds:
            os.close(fd)

    def watch(self, pid: int) -> None:
        """Notice the death of this process, too, although it is none of a host."""
        self._begin(pid)

    def _begin(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "pidfd_open"):
                fd = os.pidfd_open(pid)
                self._fds[fd] = pid
                self._poll.register(fd, select.POLLIN)
            self._watched.add(pid)

    def _hear(self) -> None:
        began = time.monotonic()
        self._hear_now()
        self._looked_at = began

    def _hear_now(self) -> None:
        if hasattr(os, "pidfd_open"):
            for fd, _ in self._poll.poll(_LOOK * 500):
                pid = self._fds.pop(fd)
                self._poll.unregister(fd)
                os.close(fd)
                self._gone(pid)
            return
        self._end.wait(_LOOK / 5)
        for pid in list(self._watched):
            if not _exists(pid):
                self._gone(pid)

    def _gone(self, pid: int) -> None:
        self._watched.discard(pid)
        now = time.monotonic()
        with self._lock:
            # A kill is noted first and sent then: a run may begin in between, and the kernel's notice may come only
            # after the next run of that job.
            self._lived[pid, now] = min(self._looked_at, self._killed.get(pid, now))
            self._times[pid].append(now)

    def close(self) -> None:
        self._end.set()
        self._thread.join(timeout=5)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
