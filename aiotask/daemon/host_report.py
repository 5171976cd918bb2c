"""What the keeper reads of all processes of its host: their counts, and how they are."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache

from ..brokers.metrics import Observed
from ..keeper.busy import Busy
from ..keeper.report import table_of
from ..settings import environment, own_version
from ..values.metrics import Counts
from ..values.report import HostReport, ProcessReport, RunningJob
from ..worker.budget import resident
from .app_facts import AppFacts
from .board import SharedBoard
from .health.vitals import Vitals

__all__ = ["HostReader"]

#: Jobs in a report, and seconds of the code of one job from which on it blocks its loop.
_MOST, _BLOCKING = 100, 1.0
#: Tasks that have series before they have run: as many as a metrics page has rows for.
_KNOWN = 255
_TICKS = os.sysconf("SC_CLK_TCK")


class HostReader:
    """Reads boards, metrics pages and vitals for one app.

    Args:
        boards: the pages of all workers that there may ever be.
    """

    def __init__(self, app: AppFacts, boards: Sequence[SharedBoard], vitals: Vitals, host: str) -> None:
        self._label = app.label
        self._boards = boards
        self._vitals = vitals
        self._host = host
        self._tasks = {hash(name): name for name in app.tasks}
        self._busy = Busy()

    def counts(self) -> tuple[dict[str, Counts], dict[str, Counts], dict[str, int]]:
        """What the processes have counted of tasks, queues and errors since the host began."""
        pages = [board.metrics.read(self._label) for board in self._boards]
        errors: dict[str, int] = {}
        for page in pages:
            for shape, number in page.errors.items():
                errors[shape] = errors.get(shape, 0) + number
        return _sum([page.tasks for page in pages]), _sum([page.queues for page in pages]), errors

    def counts_of_known(self) -> tuple[dict[str, Counts], dict[str, Counts]]:
        """The counts of tasks and queues, with tasks that have not run yet, so that their series begin at 0."""
        tasks, queues, _ = self.counts()
        known = sorted(self._tasks.values())[:_KNOWN]
        return dict.fromkeys(known, Counts()) | tasks, queues

    def counted(self) -> Observed:
        """The same as it is reported."""
        tasks, queues, errors = self.counts()
        return Observed(table_of(tasks), table_of(queues), errors)

    def report(self) -> HostReport:
        """The host as it is now."""
        now = time.monotonic()
        live = [board for board in self._boards if board.pid and board.incarnations]
        running = sorted((job for board in live for job in self._running(board, now)), key=lambda job: -job.seconds)
        wanted, serving = self._vitals.processes
        drain = self._vitals.drained
        self._busy.keep({board.pid for board in live})
        return HostReport(
            self._host,
            pid=self._vitals.pid,
            machine=platform.node(),
            aiotask=own_version(),
            python=platform.python_version(),
            release=environment("RELEASE") or "",
            wanted=wanted,
            serving=serving,
            stopping=self._vitals.stopping,
            processes=[_process(board, now, self._busy) for board in live],
            running=running[:_MOST],
            exits=self._vitals.exits,
            drained_at=drain.at if drain is not None else 0.0,
            drained_by=drain.by if drain is not None else "",
        )

    def _running(self, board: SharedBoard, now: float) -> list[RunningJob]:
        stepping, still = board.stepping, now - board.heartbeat
        return [
            RunningJob(
                job.id,
                self._tasks[job.task],
                board.pid,
                round(now - job.since, 3),
                round(job.deadline - now, 3) if job.deadline else None,
                blocks=job.slot == stepping and still > _BLOCKING,
                waits=job.away,
            )
            for job in board.started()
            if job.task in self._tasks
        ]


def _sum(tables: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: Counts.sum(table[name] for table in tables if name in table) for name in names}


def _process(board: SharedBoard, now: float, busy: Busy) -> ProcessReport:
    cpu = _cpu(board.pid)
    return ProcessReport(
        board.pid,
        board.incarnations,
        resident(board.pid),
        cpu,
        round(board.metrics.lag, 4),
        round(max(0.0, now - board.heartbeat), 3),
        len(board.started()),
        board.starts,
        busy.of(board.pid, cpu),
    )


def _cpu(pid: int) -> float:
    """CPU seconds that a process has used; 0 where the system does not report it."""
    try:
        with open(_stat(pid)) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


@cache
def _stat(pid: int) -> str:
    return f"/proc/{pid}/stat"
