"""The recorder: what keeping every finished job in SQLite costs a drain, and how far it is behind then."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from .drain import drain
from .figure import Failed, Figure
from .fleet import fleet
from .plan import Plan
from .server import Server
from .tasks import Tasks

__all__ = ["measure"]

PROCESSES = 2
#: Seconds that the recorder may take to catch up with the finished jobs.
_RECORDING_TIMEOUT = 60.0


async def _drained(plan: Plan, tasks: Tasks, *options: str) -> tuple[float, int, float]:
    """Completions per second, finished jobs that are not recorded at the end, and seconds until they are."""
    with fleet(plan.server, PROCESSES, *options) as workers:
        await drain(plan.server, workers, tasks, 2_000)
        await _caught_up(plan.server)
        rate = await drain(plan.server, workers, tasks, plan.jobs)
        behind, began = _unrecorded(plan.server), time.monotonic()
        await _caught_up(plan.server)
        return rate, behind, time.monotonic() - began


def _unrecorded(server: Server) -> int:
    return int(server.client.hget(server.key("counts"), "unrecorded") or 0)


async def _caught_up(server: Server) -> None:
    deadline = time.monotonic() + _RECORDING_TIMEOUT
    while left := _unrecorded(server):
        if time.monotonic() > deadline:
            raise Failed(f"{left:,} finished jobs were not recorded after {_RECORDING_TIMEOUT:g} s.")
        await asyncio.sleep(0.005)


def _count(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(2 * plan.reps)
    tasks = Tasks(plan.server.url)
    recorded, bare, behind, late = [], [], [], []
    async with tasks.app:
        for n in range(plan.reps):
            # Neither always comes first.
            for records in (True, False) if n % 2 else (False, True):
                if not records:
                    bare.append((await _drained(plan, tasks))[0])
                else:
                    with tempfile.TemporaryDirectory() as directory:
                        file = Path(directory, "results.db")
                        rate, left, seconds = await _drained(plan, tasks, "--result-db", str(file))
                        if _count(file) != plan.jobs + 2_000:
                            raise Failed(f"{_count(file):,} of {plan.jobs + 2_000:,} jobs were recorded.")
                    recorded.append(rate)
                    behind.append(float(left))
                    late.append(seconds)
                plan.bar.step()
    cost = [100 * (1 - kept / free) for kept, free in zip(recorded, bare, strict=True)]
    return [
        Figure("recorder", f"drain with a recorder, async no-ops, {PROCESSES} processes", "jobs/s", recorded),
        Figure("recorder", "the same without, in turns", "jobs/s", bare),
        Figure("recorder", "cost", "%", cost, 10, more=False),
        Figure("recorder", "not recorded yet at the end", "jobs", behind, more=False),
        Figure("recorder", "until they are", "s", late, more=False),
    ]
