"""What can be seen and killed of a supervisor, its keeper and its workers."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import psutil

from ..acceptance.stage import Stage
from ..helpers import wait_until_async
from ..workers import Supervisor

#: Beyond any doubt: nothing here sleeps so long to its end.
NEVER = 100.0
KILLED = "signal 9 (SIGKILL: from outside, perhaps by the kernel for want of memory)"


async def started(stage: Stage, label: Any, times: int = 1) -> int:
    """The pid of the latest run, once the job has started this number of times."""
    runs = await wait_until_async(
        lambda: (runs := stage.ledger.runs(label))[times - 1 :] and runs,
        description=f"{label} has started {times} times",
    )
    return runs[-1].pid


def keeper_of(supervisor: Supervisor) -> psutil.Process:
    """The child that no worker's log line names."""
    (keeper,) = [child for child in supervisor.children() if _is_keeper(child)]
    return keeper


def _is_keeper(process: psutil.Process) -> bool:
    """Workers have threads, the keeper has none."""
    return process.num_threads() == 1


def kill_all(supervisor: Supervisor) -> None:
    """Kill -9 of supervisor, keeper and workers, which leaves nobody to give anything back."""
    # It must not replace a keeper that is gone before it, nor may a keeper act on its end.
    supervisor.signal(signal.SIGSTOP)
    family = supervisor.children()
    keeper_of(supervisor).kill()
    supervisor.signal(signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=60)


def has_keeper(supervisor: Supervisor) -> bool:
    """A worker and the keeper are there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return sorted(child.num_threads() for child in supervisor.children()) == [1, 2]
    return False


async def two_children(supervisor: Supervisor) -> None:
    await wait_until_async(lambda: has_keeper(supervisor), description="there is a worker and a keeper")


async def meta_of(stage: Stage, id: str) -> Any:
    async with stage.app.inspector() as inspector:
        job = await inspector.job(id)
    assert job is not None
    return job.meta


async def live(stage: Stage) -> list[str]:
    """Incarnations that the broker knows."""
    async with stage.app.inspector() as inspector:
        return [worker.incarnation for worker in await inspector.workers()]
