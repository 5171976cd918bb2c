"""How soon something takes effect: a time of expiry, a pause, the end of a job in the line of a limit, and a death."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from aiotask import JobExpired, gather

from ..figure import Failed, Figure, percentile
from ..fleet import fleet, live_pids
from ..plan import Plan
from ..recovery import until
from ..server import Server
from ..tasks import marks
from .handover import MODULE
from .tasks import TimelyTasks

__all__ = ["measure"]

PROCESSES = 2
#: Per repetition: jobs that expire, pairs of jobs of a limit, and kills.
_EXPIRING, _PAIRS, _KILLS = 50, 20, 2
#: Seconds between two jobs of the queue that is paused, before and after the pause begins, and until it ends.
_STEP, _BEFORE, _PAUSED = 0.01, 0.5, 1.5
#: Seconds that a job of a limit takes, which is long enough for everything else to rest.
_SECONDS = 0.05
_TIMEOUT = 30.0
#: Seconds, and milliseconds from one job of a limit to the next.
_PROMISE, _HANDOVER = 1.0, 5.0


async def _expired(tasks: TimelyTasks) -> list[float]:
    """Seconds by which those that wait hear too late that their job has expired: no worker consumes its queue."""

    async def late(seconds: float) -> float:
        sent = tasks.started.options(queue="nobody", expires=seconds).apply_async(0)
        await sent.sent()
        began = time.monotonic()
        try:
            await sent
        except JobExpired:
            return max(0.0, time.monotonic() - began - seconds)
        raise Failed("A job of a queue that nobody consumes has run.")

    return list(await asyncio.gather(*(late(random.uniform(0.5, 1.5)) for _ in range(_EXPIRING))))


async def _paused(tasks: TimelyTasks) -> tuple[float, float]:
    """Seconds from a pause until the last job starts that it ought to hold back, and from its end until one starts."""
    sent = []

    async def send(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sent.append(tasks.started.apply_async(0))
            await asyncio.sleep(_STEP)

    await send(_BEFORE)
    paused = time.monotonic()
    await tasks.app.pause(queue="default")
    await send(_PAUSED)
    resumed = time.monotonic()
    await tasks.app.resume(queue="default")
    starts = await gather(sent)
    held_late = max((at - paused for at in starts if at < resumed), default=0.0)
    return max(0.0, held_late), min(at for at in starts if at >= resumed) - resumed


async def _idle_gaps(tasks: TimelyTasks) -> list[float]:
    """Milliseconds from the end of a job to the start of the only one that waits for its slot."""
    gaps = []
    for _ in range(_PAIRS):
        ran = sorted(await gather([tasks.alone_async.apply_async(_SECONDS) for _ in range(2)]), key=lambda run: run[1])
        gaps += [1000 * (after[1] - before[2]) for before, after in pairwise(ran)]
    return gaps


async def _freed(server: Server, tasks: TimelyTasks, paths: Sequence[Path]) -> list[float]:
    """Seconds from the death of the holder of a slot until the next job of its limit starts, and all have run."""
    took = []
    for path in paths:
        await until(lambda: len(live_pids(server)) == PROCESSES, "Not all workers were in service")
        holder = tasks.alone_linger.apply_async(str(path))
        behind = tasks.alone_async.apply_async(0.0)
        await until(lambda path=path: bool(marks(str(path))), "The job had not started")
        await asyncio.sleep(random.uniform(0.0, 0.5))
        killed = time.monotonic()
        os.kill(marks(str(path))[0][0], signal.SIGKILL)
        await holder.wait(timeout=_TIMEOUT)
        _, started, _ = await behind
        took.append(started - killed)
    return took


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = TimelyTasks(plan.server.url)
    expired: list[float] = []
    held: list[float] = []
    resumed: list[float] = []
    gaps: list[float] = []
    freed: list[float] = []
    with tempfile.TemporaryDirectory() as directory, fleet(plan.server, PROCESSES, module=MODULE):
        async with tasks.app:
            for n in plan.rounds():
                expired += await _expired(tasks)
                last, first = await _paused(tasks)
                held.append(last)
                resumed.append(first)
                gaps += await _idle_gaps(tasks)
                freed += await _freed(plan.server, tasks, [Path(directory, f"{n}.{kill}") for kill in range(_KILLS)])
    late = "expires: its caller hears of it after the time"
    return [
        Figure("effects", f"{late}, p50", "s", [percentile(expired, 0.5)], more=False),
        Figure("effects", f"{late}, p99", "s", [percentile(expired, 0.99)], _PROMISE, more=False),
        Figure("effects", "pause of a queue: until the last job of it starts", "s", held, _PROMISE, more=False),
        Figure("effects", "its end: until the first job starts", "s", resumed, _PROMISE, more=False),
        Figure("effects", "max_running=1: from a job to the only one that waits", "ms", gaps, _HANDOVER, more=False),
        Figure("effects", "kill -9 of its process: until the next job of the limit", "s", freed, _PROMISE, more=False),
    ]
