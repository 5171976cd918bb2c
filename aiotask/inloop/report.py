"""What the keeper of an in-loop worker reports of its process."""

from __future__ import annotations

import os
import platform
import time

from ..brokers.metrics import Observed
from ..keeper.busy import Busy
from ..keeper.report import MemoryLedger, Source, table_of
from ..settings import environment, own_version
from ..values.report import HostReport, ProcessReport, RunningJob
from ..worker.budget import resident
from ..worker.measures import MetricsTable
from .watch import InLoopWatch

__all__ = ["in_loop_source"]

#: Jobs in a report.
_MOST = 100


def in_loop_source(table: MetricsTable, host: str, watch: InLoopWatch) -> Source:
    """The source of the reports of one unit.

    Args:
        table: what its worker has counted.
        watch: knows the jobs that run in the loop of the worker; it is called in the thread of the keeper.
    """

    busy = Busy()

    def counted() -> Observed:
        tasks, queues, errors = table.read()
        return Observed(table_of(tasks), table_of(queues), errors)

    def report() -> HostReport:
        now = time.monotonic()
        found = [
            RunningJob(
                run.job.id,
                run.task.name,
                os.getpid(),
                round(now - run.started_mono, 3),
                round(run.started_mono + run.timeout - now, 3) if run.timeout else None,
                waits=run.waits > 0,
            )
            for run in watch.runs()
            if run.started_mono
        ]
        found.sort(key=lambda job: -job.seconds)
        used = os.times()
        drained_at, drained_by = watch.drained
        process = ProcessReport(
            os.getpid(),
            watch.names(),
            resident(),
            used.user + used.system,
            running=len(found),
            busy=busy.of(os.getpid(), used.user + used.system),
        )
        return HostReport(
            host,
            pid=os.getpid(),
            machine=platform.node(),
            aiotask=own_version(),
            python=platform.python_version(),
            release=environment("RELEASE") or "",
            wanted=1,
            serving=1,
            processes=[process],
            running=found[:_MOST],
            drained_at=drained_at,
            drained_by=drained_by,
        )

    async def turn() -> None:
        """Return at once: no other keeper takes over."""

    return Source(counted, report, MemoryLedger(), turn)
