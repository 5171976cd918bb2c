"""Stops, and how many processes there are."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from ..acceptance.stage import Stage
from ..helpers import wait_until, wait_until_async
from .seen import NEVER, live, live_workers, places_of, started

# ---- stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_stop_lets_run_what_runs_and_gives_back_the_rest(stage: Stage, number: signal.Signals) -> None:
    supervisor = stage.start(1)
    sync = stage.nap.apply_async(0.5, "sync")
    coroutine = stage.anap.apply_async(0.5, "async")
    await started(stage, "sync")
    await started(stage, "async")
    waiting = [stage.echo.apply_async(n).id for n in range(10)]
    await stage.app.flush()
    assert supervisor.stop(number) == 0
    assert supervisor.session() == []
    assert await asyncio.gather(sync, coroutine) == [1, 1]
    places = await places_of(stage, *waiting)
    assert places == dict.fromkeys(waiting, ("PENDING", 1))
    assert await live(stage.app) == set()
    assert supervisor.log.count("Stopping: no more jobs are claimed; running jobs have 30 s to end.") == 1
    assert supervisor.log.rstrip().endswith("Stopped.")


async def test_what_has_not_ended_within_the_grace_time_is_back_in_the_queue_when_the_supervisor_ends(
    stage: Stage,
) -> None:
    supervisor = stage.start(2, "--grace", "0.5")
    jobs = [stage.nap.apply_async(NEVER, "sync"), stage.anap.apply_async(NEVER, "async"), stage.swallow.apply_async()]
    await started(stage, "sync")
    await started(stage, "async")
    await started(stage, "swallow")
    assert supervisor.stop() == 0
    assert supervisor.session() == []
    # An operator's stop is no strike and no attempt.
    assert await places_of(stage, *[job.id for job in jobs]) == {job.id: ("PENDING", 1) for job in jobs}
    assert await live(stage.app) == set()
    assert "did not end within 0.5 s; " in supervisor.log
    for job in jobs:
        await job.cancel()


async def test_a_second_stop_ends_at_once(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.start_program.apply_async(NEVER)
    await started(stage, "start_program")
    (program,) = await wait_until_async(
        lambda: [run.label for run in stage.ledger.runs() if isinstance(run.label, int)], description="it runs"
    )
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="it has understood")
    assert psutil.pid_exists(program)
    assert supervisor.stop() == 0
    assert supervisor.session() == [] and not psutil.pid_exists(program)
    assert await places_of(stage, job.id) == {job.id: ("PENDING", 1)}
    await job.cancel()


async def test_a_worker_that_is_asked_itself_drains_and_is_followed(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.nap.apply_async(0.5)
    pid = await started(stage, "nap")
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await job == 1
    assert await stage.pid.apply_async() != pid
    assert len(stage.ledger.runs("nap")) == 1
    assert supervisor.stop() == 0


# ---- how many, and which


async def test_one_more_and_one_less(stage: Stage) -> None:
    supervisor = stage.start(1)
    (first,) = await live_workers(stage.app, 1)
    supervisor.signal(signal.SIGTTIN)
    assert first in await live_workers(stage.app, 2)
    supervisor.signal(signal.SIGTTOU)
    assert await live_workers(stage.app, 1) == {first}
    supervisor.signal(signal.SIGTTOU)
    wait_until(lambda: supervisor.log.count("1 worker process from now on.") == 2, description="it was heard")
    assert await stage.pid.apply_async() == first
    if sys.platform == "linux":
        score, own = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (first, supervisor.pid))
        assert score > own or own == 1000, "short of memory, the kernel ends a worker before its supervisor"


async def test_stacks_of_all_processes_whatever_they_do(stage: Stage) -> None:
    supervisor = stage.start(2)
    job = stage.hold_the_gil.apply_async()
    await started(stage, "hold_the_gil")
    supervisor.signal(signal.SIGUSR1)
    wait_until(lambda: "The stacks of the keeper" in supervisor.log, description="all have been asked")
    assert len(re.findall(r"The stacks of worker-[12] \(pid \d+\):\n", supervisor.log)) == 2
    assert re.search(r'File ".*hazards\.py", line \d+ in hold_the_gil\n', supervisor.log)
    assert "no answer" not in supervisor.log
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="it has understood")
    assert supervisor.stop() == 0
    assert await places_of(stage, job.id) == {job.id: ("PENDING", 1)}
