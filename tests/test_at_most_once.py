"""``acks="early"`` against real processes: a job runs once at most, and whoever awaits it hears how it ended."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil
import pytest

from aiotask import App, ConfigError, JobCancelled, JobError, JobTimeout, Retry, Status, WorkerLost
from aiotask.inloop import worker as inloop

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import Supervisor, Workers


async def started(stage: Stage, label: str) -> None:
    await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")


async def lose_the_host(stage: Stage, supervisor: Supervisor) -> None:
    """All of it goes, and no worker is left but the next one."""
    held = [stage.early.apply_async("nap", "held"), stage.early_nap.apply_async(600, "aheld")]
    waiting = [stage.early.apply_async("return", f"waiting-{n}") for n in range(5)]
    await started(stage, "held")
    await started(stage, "aheld")
    family = supervisor.session()
    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    psutil.wait_procs(family, timeout=30)
    stage.start(1)
    for result in held:
        with pytest.raises(WorkerLost):
            await result
    assert await asyncio.gather(*waiting) == [f"waiting-{n}" for n in range(5)]


async def test_a_job_runs_once_at_most_whatever_ends_it(workers: Workers, tmp_path: Path) -> None:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        supervisor = stage.start(1)
        ledger = stage.ledger

        fine = [stage.early.apply_async("return", f"fine-{n}") for n in range(60)]
        fine += [stage.early_nap.apply_async(0.0, f"afine-{n}") for n in range(60)]
        assert sorted(await asyncio.gather(*fine)) == sorted(run.label for run in ledger.runs())
        with pytest.raises(KeyError):
            await stage.early.apply_async("raise", "raises")
        with pytest.raises(JobTimeout):
            await stage.early.options(timeout=0.1).apply_async("nap", "limit")

        # Its process dies with it; what runs beside it as usual is run again, a neighbour of its kind is not.
        neighbour, beside = stage.early_nap.apply_async(600, "neighbour"), stage.anap.apply_async(1.5, "beside")
        await started(stage, "neighbour")
        await started(stage, "beside")
        with pytest.raises(WorkerLost, match=r'that ran it died, and with acks="early" it does not run again'):
            await stage.early.apply_async("segfault", "dies")
        with pytest.raises(WorkerLost):
            await neighbour
        assert await neighbour.status() is Status.FAILED
        assert await beside == 1

        # It is cancelled as any other.
        unwanted = stage.early.apply_async("nap", "cancelled")
        await started(stage, "cancelled")
        assert await unwanted.status() is Status.RUNNING
        await unwanted.cancel()
        with pytest.raises(JobCancelled):
            await unwanted

        await lose_the_host(stage, supervisor)
        assert {ledger.counts()[run.id] for run in ledger.runs() if run.label != "beside"} == {1}
        async with stage.app.inspector() as inspector:
            assert await inspector.jobs() == []


async def test_once_at_most_leaves_no_room_for_retries(app_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(app_name, url="memory://")
    with pytest.raises(ConfigError, match=r'acks="early" means that a job runs once at most, but retries=3'):
        app.task(acks="early", retries=3)(lambda: None)
    with pytest.raises(ConfigError, match="late, early"):
        app.register_task(lambda: None, name="sooner", acks="sooner")  # type: ignore[call-overload]
    runs = []

    @app.task(acks="early")
    async def again() -> None:
        runs.append(1)
        raise Retry("once more")

    @app.task(acks="early")
    async def stopped() -> None:
        runs.append(1)
        await asyncio.sleep(600)

    with pytest.raises(ConfigError, match="retries=1"):
        again.options(retries=1)
    monkeypatch.setattr(inloop, "STOP_TIMEOUT", 0.2)
    async with app.worker():
        with pytest.raises(JobError, match="no retry was left after 1 runs"):
            await again.apply_async()
        unfinished = stopped.apply_async()
        await wait_until_async(lambda: len(runs) == 2, description="it runs")
    with pytest.raises(WorkerLost, match='was stopped, and with acks="early" it does not run again'):
        await unfinished
    assert len(runs) == 2
    await app.client.close()
