"""A worker dies, or its loop stands still: its jobs run elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from ..acceptance.stage import Stage
from ..helpers import wait_until_async
from .deaths import KILLED, meta_of, started

# ---- workers


async def test_the_jobs_of_a_killed_worker_run_again_at_once(stage: Stage) -> None:
    supervisor = stage.start(1)
    sync = stage.hang_once.apply_async("sync")
    coroutines = [stage.ahang_once.apply_async(f"async {n}") for n in range(3)]
    waiting = [stage.echo.apply_async(n) for n in range(20)]
    pid = await started(stage, "sync")
    for n in range(3):
        assert await started(stage, f"async {n}") == pid
    os.kill(pid, signal.SIGKILL)

    assert await asyncio.gather(sync, *coroutines) == [1, 1, 1, 1]
    assert await asyncio.gather(*waiting) == list(range(20))
    for label in ("sync", "async 0", "async 1", "async 2"):
        first, second = stage.ledger.runs(label)
        assert first.end is None and second.end is not None and second.pid != pid
    assert f"ended by {KILLED} while it ran" in supervisor.log
    assert supervisor.stop() == 0


@pytest.mark.trap("grandchildren")
async def test_what_a_killed_worker_had_started_dies_with_it_before_its_job_runs_again(stage: Stage) -> None:
    supervisor = stage.start(1)
    result = stage.start_program.apply_async(0.5)
    worker = await started(stage, "start_program")
    (program,) = await wait_until_async(
        lambda: [run.label for run in stage.ledger.runs() if isinstance(run.label, int)], description="it runs"
    )
    os.kill(worker, signal.SIGKILL)
    await started(stage, "start_program", 2)
    assert not psutil.pid_exists(program)
    # Who ran as its process died has a death counted, and no attempt.
    meta = await meta_of(stage, result.id)
    assert (meta.attempt, meta.deaths, meta.reason) == (1, 1, KILLED)
    assert meta.obituary is not None and meta.obituary.signal == 9 and meta.obituary.peak_memory > 10**7
    second = await result
    assert supervisor.stop() == 0
    assert not psutil.pid_exists(second)


# ---- a loop that stands still


@pytest.mark.trap("loop stands still")
async def test_what_waits_behind_a_loop_that_stands_still_runs_elsewhere(stage: Stage) -> None:
    blocked = stage.block_the_loop.apply_async(7.0)
    behind = [stage.anap.apply_async(0.01, "behind") for _ in range(30)]
    await stage.app.flush()
    # All that is there is claimed at once.
    stage.start(1, wait=False)
    stuck = await started(stage, "block_the_loop")
    other = stage.start(1)
    assert await asyncio.gather(*behind) == [1] * 30
    runs = stage.ledger.runs("behind")
    assert len(runs) == 30 and stuck not in {run.pid for run in runs}
    # It was not killed for that, and goes on in the end.
    assert other.stop() == 0
    assert await blocked == 1
    assert len(stage.ledger.runs("block_the_loop")) == 1
    assert await stage.pid.apply_async() == stuck
