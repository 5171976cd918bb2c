"""Whether the kernel has just killed for want of memory: the counter of the memory cgroup of a process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OomKills", "go_first"]

#: Seconds for which a kill that was counted explains a death.
_EXPLAINS_FOR = 3.0
#: Seconds between two readings of the counters.
_TICK_INTERVAL = 0.5
_MANY = 1000
#: Counts as a fifth of all memory more (``oom_score_adj``).
_FIRST = 200
_ROOT = "/sys/fs/cgroup"
_ROOT_V1 = f"{_ROOT}/memory/memory.oom_control"


def go_first() -> None:
    """Let the kernel choose this process before its supervisor and keeper when memory is short (Linux)."""
    with contextlib.suppress(OSError, ValueError):
        file = Path("/proc/self/oom_score_adj")
        file.write_text(str(min(1000, int(file.read_text()) + _FIRST)))


class OomKills:
    """Counts the kills since the first look; where the system shows no counter, no death is explained."""

    def __init__(self) -> None:
        self._file_of: dict[int, str] = {}
        #: Kills so far, by file.
        self._counts: dict[str, int] = {}
        #: When each kill was seen that explains no death so far (monotonic).
        self._kills: dict[str, list[float]] = {}
        #: The counter's file by the content of /proc/PID/cgroup.
        self._known: dict[str, str] = {}
        self._own = self._counter_of("self")
        self._next = 0.0
        self._read(self._own)

    def tick(self, pids: Iterable[int]) -> None:
        """At least once a second: in which cgroup each process is, and whether a counter has risen."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _TICK_INTERVAL
        self._file_of = {pid: self._current_file_of(pid) for pid in pids}
        for file in {self._own, *self._file_of.values()}:
            self._read(file)

    def explain(self, pid: int) -> bool:
        """Whether the kernel killed in the cgroup of this process, which has died of SIGKILL a moment ago. Each
        kill explains one death."""
        file = self._file_of.pop(pid, self._own)
        # The process may have moved into a new cgroup since the last look.
        moved = self._counter_of(pid)
        if "memory.events" in moved and moved not in self._counts:
            self._counts[moved] = 0
            file = moved
        self._read(file)
        kills = self._kills.get(file, [])
        while kills and time.monotonic() - kills[0] > _EXPLAINS_FOR:
            kills.pop(0)
        if kills:
            kills.pop(0)
            return True
        return False

    def _current_file_of(self, pid: int) -> str:
        file = self._counter_of(pid)
        # Of cgroups v1, a process that ends is shown in the root.
        return file if file not in ("", _ROOT_V1) else self._file_of.get(pid, self._own)

    def _read(self, file: str) -> None:
        count = _count(file)
        if count is None:
            return
        risen = count - self._counts.setdefault(file, count)
        self._counts[file] = count
        if risen > 0:
            kills = self._kills.setdefault(file, [])
            kills += [time.monotonic()] * min(risen, 100)
            del kills[:-100]

    def _counter_of(self, pid: int | str) -> str:
        """The file with the counter of a process's memory cgroup; empty: there is none to be read."""
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                cgroups = file.read()
        except OSError:
            return ""
        if cgroups not in self._known:
            if len(self._known) > _MANY:
                self._known.clear()
            self._known[cgroups] = _counter(cgroups)
        return self._known[cgroups]


def _counter(cgroups: str) -> str:
    candidates = []
    for line in cgroups.splitlines():
        number, controllers, path = line.split(":", 2)
        path = "" if path == "/" else path
        if "memory" in controllers.split(","):
            # In a container the path may be that of the host, and what is seen here begins at its own.
            candidates += [f"{_ROOT}/memory{path}/memory.oom_control", _ROOT_V1]
        elif number == "0":
            for folder in (f"{_ROOT}{path}", f"{_ROOT}/unified{path}", _ROOT):
                candidates += [f"{folder}/memory.events.local", f"{folder}/memory.events"]
    return next((file for file in candidates if _count(file) is not None), "")


def _count(file: str) -> int | None:
    try:
        with open(file) as opened:
            for line in opened:
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    except (OSError, ValueError):
        pass
    return None
