"""Recovery: from the ``kill -9`` of a worker process until the job that it ran runs again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiotask import Task

from .figure import Failed, Figure, percentile
from .fleet import fleet, live_pids
from .plan import Plan
from .server import Server
from .tasks import Tasks, marks

__all__ = ["measure", "until"]

PROCESSES = 2
#: Kills per repetition.
_KILLS = 4
#: Seconds that workers may take to be in service, and a job to start or to run again.
_RECOVERY_TIMEOUT = 120.0


async def until(there: Callable[[], bool], what: str) -> None:
    """Wait for something; Failed, with these words, if it is not there in time."""
    deadline = time.monotonic() + _RECOVERY_TIMEOUT
    while not there():
        if time.monotonic() > deadline:
            raise Failed(f"{what} after {_RECOVERY_TIMEOUT:g} s.")
        await asyncio.sleep(0.005)


async def _recovered(server: Server, task: Task[[str], None], path: Path) -> float:
    """Seconds from the kill to the next start of the job."""
    await until(lambda: len(live_pids(server)) == PROCESSES, "Not all workers were in service")
    result = task.apply_async(str(path))
    await until(lambda: len(marks(str(path))) == 1, "The job had not started")
    # Whatever is done once in a while in the worker and the keeper, the kill falls anywhere between.
    await asyncio.sleep(random.uniform(0.0, 1.0))
    killed = time.monotonic()
    os.kill(marks(str(path))[0][0], signal.SIGKILL)
    await result.wait(timeout=_RECOVERY_TIMEOUT)
    return marks(str(path))[1][1] - killed


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = Tasks(plan.server.url)
    took: list[float] = []
    with tempfile.TemporaryDirectory() as directory, fleet(plan.server, PROCESSES):
        async with tasks.app:
            for _ in plan.rounds():
                for _ in range(_KILLS):
                    task = (tasks.async_linger, tasks.sync_linger)[len(took) % 2]
                    took.append(await _recovered(plan.server, task, Path(directory, str(len(took)))))
    name = f"kill -9 of a worker until its job runs again, {len(took)} kills"
    return [
        Figure("recovery", name, "s", took, more=False),
        Figure("recovery", "p99 of them", "s", [percentile(took, 0.99)], 1.0, more=False),
    ]
