"""One host of the arena: a real supervisor with its workers and keeper, and the ways in which they die."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import psutil

from ..workers import Supervisor

if TYPE_CHECKING:
    from .deaths import Deaths

__all__ = ["Fault", "Host", "children_of"]


@dataclass(frozen=True)
class Fault:
    """One blow. ``pids``: the processes that it was to end."""

    kind: str
    #: Monotonic.
    at: float
    pids: tuple[int, ...] = ()


def children_of(pid: int) -> list[int]:
    """Direct children that live."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
        return [child for child in map(int, file.read().split()) if _state(child) not in "ZX"]
    if os.path.exists("/proc/self/stat"):
        return []
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return []


def _state(pid: int) -> str:
    """The letter of its state; X when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _is_keeper(pid: int) -> bool:
    """Keepers ignore TERM; workers do not. Where that cannot be seen: keepers have one thread."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).num_threads() == 1
    return False


class Host:
    """A supervisor and what it started. Every ``kill_…`` is a fault that the report knows of.

    Args:
        supervisor: as tests.workers starts it.
        record: is told of every fault.
        machine: on which it is taken to be. Whoever is on the same one sees at once that all its processes are gone.
    """

    def __init__(
        self, supervisor: Supervisor, workers: int, deaths: Deaths, record: Callable[[Fault], None], machine: str = ""
    ) -> None:
        self.supervisor = supervisor
        self.size = workers
        self.machine = machine
        self._deaths = deaths
        self._record = record
        #: File descriptors of the supervisor when its workers were in service.
        self.fds = self.count_fds()
        #: Its workers have been in service.
        self.ready = False
        #: Until then (monotonic) neither its supervisor nor its keeper is a victim: it watches over a dead host.
        self.spared_until = 0.0
        #: It was killed, by this trial.
        self.killed = False

    @property
    def pid(self) -> int:
        return self.supervisor.pid

    @property
    def alive(self) -> bool:
        return self.supervisor.exit_code is None

    # ---- what can be seen

    def workers(self) -> list[int]:
        """Process ids of the workers that live."""
        return [pid for pid in children_of(self.pid) if not _is_keeper(pid)]

    def keeper(self) -> int | None:
        return next((pid for pid in children_of(self.pid) if _is_keeper(pid)), None)

    def processes(self) -> list[int]:
        """The supervisor and its children, as far as they live."""
        return [self.pid, *children_of(self.pid)] if self.alive else []

    def count_fds(self) -> int:
        """Open file descriptors of the supervisor; 0 if it is gone."""
        with contextlib.suppress(psutil.Error, OSError):
            return psutil.Process(self.pid).num_fds()
        return 0

    def zombies(self) -> list[int]:
        """Children of the supervisor that ended and were not reaped."""
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.pid).children()
            return [child.pid for child in children if _state(child.pid) == "Z"]
        return []

    # ---- faults

    def kill_worker(self, rng: Random, number: int = signal.SIGKILL) -> Fault | None:
        """A signal to one of its workers; None if there is none."""
        workers, kind = self.workers(), "worker" if number == signal.SIGKILL else "worker's term"
        return self.kill(kind, [rng.choice(workers)], number) if workers else None

    def kill_keeper(self) -> Fault | None:
        keeper = self.keeper()
        return self.kill("keeper", [keeper]) if keeper is not None else None

    def kill_supervisor(self) -> Fault:
        """The supervisor alone: its keeper ends the workers and gives back their jobs."""
        self.killed = True
        return self.kill("supervisor", [self.pid], also=self.workers())

    def kill_all(self, kind: str = "host") -> Fault:
        """The whole host at once: nobody is left there to give anything back."""
        self.killed = True
        keeper = self.keeper()
        return self.kill(kind, [*([keeper] if keeper else []), self.pid, *self.workers()])

    def kill(self, kind: str, pids: list[int], number: int = signal.SIGKILL, also: list[int] | None = None) -> Fault:
        """Send a signal that ends them. ``also``: processes that end because of it."""
        at = time.monotonic()
        if number == signal.SIGKILL:
            for pid in pids:
                self._deaths.note(pid, at)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        fault = Fault(kind, at, (*pids, *(also or ())))
        self._record(fault)
        return fault

    def freeze(self, pids: list[int] | None = None) -> Fault:
        """SIGSTOP to these, or to all of the host."""
        fault = Fault("freeze", time.monotonic())
        for pid in pids or self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self._record(fault)
        return fault

    def thaw(self, pids: list[int] | None = None) -> None:
        for pid in pids or self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
