"""Signals and streams of a worker process that user code has taken: the worker takes back what it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from aiotask.errors import JobCancelled, JobTimeout, WorkerLost

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import Workers, running_workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("invasive", workers, tmp_path / "ledger") as stage:
        yield stage


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    """One process that says at once where a long job stands; its pid shows whether it has outlived a test."""
    directory: Path = tmp_path_factory.mktemp("own-signals")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("invasive", workers, directory / "ledger") as stage,
    ):
        stage.start(1, "--long-job", "0.3s")
        yield stage


async def started(stage: Stage, label: str) -> None:
    await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")


@pytest.mark.parametrize("how", ["loop", "default", "wakeup", "mask"])
async def test_a_stop_of_all_processes_lets_jobs_end_whatever_an_earlier_job_did_to_the_signal(
    stage: Stage, how: str
) -> None:
    supervisor = stage.start(1)
    assert await stage.takes_signals.apply_async(how) == how
    worker = await stage.pid.apply_async()
    running = stage.nap.apply_async(1.0, "while it is stopped")
    await started(stage, "while it is stopped")

    os.kill(worker, Signals.SIGTERM)
    supervisor.signal(Signals.SIGTERM)

    assert supervisor.wait() == 0
    assert await running == "while it is stopped"
    assert len(stage.ledger.runs("while it is stopped")) == 1


@pytest.mark.parametrize("how", ["wakeup", "mask", "default"])
async def test_a_worker_that_is_idle_hears_its_stop(stage: Stage, how: str) -> None:
    supervisor = stage.start(1)
    assert await stage.takes_signals.apply_async(how) == how
    worker = await stage.pid.apply_async()

    os.kill(worker, Signals.SIGTERM)

    # It has ended by itself and was replaced.
    await wait_until_async(
        lambda: all(child.pid != worker for child in supervisor.children()), description="the worker has ended"
    )
    assert await stage.echo.apply_async(1) == 1
    assert "SIGTERM" not in supervisor.log


async def test_a_job_is_interrupted_at_its_limit_although_an_earlier_one_has_blocked_all_signals(stage: Stage) -> None:
    supervisor = stage.start(1)
    before = await stage.pid.apply_async()
    assert await stage.takes_signals.apply_async("mask of all") == "mask of all"

    with pytest.raises(JobTimeout, match="ran longer than its limit"):
        await stage.nap.options(timeout=1.0).apply_async(30.0)

    assert await stage.pid.apply_async() == before
    assert "ended by" not in supervisor.log


async def test_a_job_is_interrupted_by_its_cancel_although_an_earlier_one_has_blocked_all_signals(
    stage: Stage,
) -> None:
    stage.start(1)
    before = await stage.pid.apply_async()
    assert await stage.takes_signals.apply_async("mask of all") == "mask of all"
    # Unlimited jobs look at nothing themselves: the loop thread finds that the main thread has not heard it.
    await wait_until_async(lambda: _is_heard(stage, before), description="a job finds the alarms unblocked")
    running = stage.nap.apply_async(30.0, "to be cancelled")
    await started(stage, "to be cancelled")

    await running.cancel()

    with pytest.raises(JobCancelled):
        await running
    assert await stage.pid.apply_async() == before


async def _is_heard(stage: Stage, pid: int) -> bool:
    assert await stage.pid.apply_async() == pid
    blocked = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in line)
    return not int(blocked.split()[1], 16) >> (Signals.SIGVTALRM - 1) & 1


@pytest.mark.parametrize("how", ["default", "ignored", "handler", "unregistered"])
async def test_where_a_long_job_stands_is_said_whatever_a_job_did_to_the_signal_that_asks(
    shared: Stage, how: str, worker_logs: None
) -> None:
    supervisor = shared.workers.all[0]
    before = await shared.pid.apply_async()
    supervisor.unread()
    assert await shared.takes_usr1.apply_async(how) == how

    assert await shared.nap.apply_async(1.5, how) == how

    said = await wait_until_async(
        lambda: [line for line in supervisor.log.splitlines() if "has been running" in line],
        description="the place is in the log",
    )
    assert "invasive.py" in said[-1]
    assert "USER HANDLER" not in supervisor.log
    assert await shared.pid.apply_async() == before


async def test_an_app_that_takes_the_signals_at_import_has_its_crashes_explained_all_the_same(
    workers: Workers, tmp_path: Path
) -> None:
    with staged("invasive", workers, tmp_path / "ledger") as stage:
        stage.env["TEST_SIGNALS"] = "taken at import"
        stage.start(1)
        with pytest.raises(WorkerLost) as lost:
            await stage.segfaults.apply_async()
    assert "segfaults (" in str(lost.value)
    assert "invasive.py" in lost.value.stack


async def test_a_job_that_disables_faulthandler_does_not_hide_the_crash_of_another(stage: Stage) -> None:
    stage.start(1)
    await stage.disables_faulthandler.apply_async()
    await stage.nap.apply_async(0.6)

    with pytest.raises(WorkerLost) as lost:
        await stage.segfaults.apply_async()

    assert "segfaults (" in str(lost.value)


@pytest.mark.parametrize("how", ["close stderr", "close both", "none", "close descriptors"])
async def test_a_job_that_breaks_the_streams_ends_nothing(stage: Stage, how: str) -> None:
    supervisor = stage.start(1)
    before = await stage.pid.apply_async()

    assert await stage.breaks_streams.apply_async(how) == how

    assert [await stage.aecho.apply_async(n) for n in range(3)] == [0, 1, 2]
    assert [await stage.echo.apply_async(n) for n in range(3)] == [0, 1, 2]
    assert await stage.pid.apply_async() == before
    assert supervisor.stop() == 0
