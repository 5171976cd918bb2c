"""Traps of processes and interpreters, and the tests that hold their remedies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiotask import JobTimeout, ResultTimeout

from ..acceptance.stage import Stage, staged
from ..helpers import wait_until, wait_until_async
from ..workers import Workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage


async def started(stage: Stage, label: object) -> int:
    """The pid of the last run."""
    runs = await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")
    return runs[-1].pid


@pytest.mark.trap("copied memory")
@pytest.mark.trap("late answers")
@pytest.mark.trap("orphaned workers")
async def test_a_worker_shares_memory_gives_way_and_dies_with_its_supervisor(stage: Stage) -> None:
    supervisor = stage.start(1)
    frozen, interval = await stage.interpreter.apply_async()
    assert frozen > 10_000
    assert 0.0005 <= interval < 0.005
    # Were it forked from a thread, it would die with that thread.
    assert psutil.Process(supervisor.pid).num_threads() == 1
    if sys.platform == "linux":
        wait_until(lambda: len(supervisor.children()) == 2, description="there are a worker and a keeper")
        family = supervisor.children()
        worker = await stage.pid.apply_async()
        # Nobody is left who could end it.
        supervisor.signal(signal.SIGSTOP)
        for child in family:
            if child.pid != worker:
                child.kill()
        supervisor.signal(signal.SIGKILL)
        supervisor.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


@pytest.mark.trap("signal in C")
async def test_a_worker_hears_its_operator_while_its_main_thread_is_in_c(stage: Stage) -> None:
    supervisor = stage.start(1)
    stage.compute_in_c.apply_async()
    worker = await started(stage, "compute_in_c")
    assert await stage.aecho.apply_async(1).wait(30) == 1
    os.kill(worker, signal.SIGTERM)

    async def claims_no_more() -> bool:
        try:
            await stage.aecho.apply_async(1).wait(0.5)
        except ResultTimeout:
            return True
        return False

    await wait_until_async(claims_no_more, description="it drains")
    assert psutil.pid_exists(worker) and stage.ledger.runs("compute_in_c")[0].end is None
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="the supervisor stops")
    assert supervisor.stop() == 0
    assert not psutil.pid_exists(worker)


@pytest.mark.trap("out of reach")
async def test_a_job_of_a_process_that_is_stopped_ends_at_its_limit(stage: Stage) -> None:
    """Nobody is told of a child that is stopped; its page shows what is overdue all the same."""
    supervisor = stage.start(1)
    overdue = stage.nap.options(timeout=0.5).apply_async(100.0)
    worker = await started(stage, "nap")
    os.kill(worker, signal.SIGSTOP)
    behind = stage.aecho.apply_async(2)
    with pytest.raises(JobTimeout, match="did not react; its process was killed"):
        await overdue.wait(60)
    assert await behind.wait(60) == 2
    assert not psutil.pid_exists(worker)
    assert supervisor.stop() == 0
