"""Keepers, supervisors and whole hosts are gone: others take over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiotask.errors import AiotaskError

from ..acceptance.stage import Stage, staged
from ..helpers import wait_until, wait_until_async
from ..workers import running_workers
from .deaths import NEVER, has_keeper, keeper_of, kill_all, live, meta_of, started, two_children


@pytest.fixture(scope="module", autouse=True)
def gone(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    """Two hosts of an app, as if on two machines, of which one is killed as a whole with a job that it runs: the other
    one notices after some 10 s, which are those of the other tests here."""
    directory: Path = tmp_path_factory.mktemp("hosts")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("hazards", workers, directory / "ledger") as stage,
    ):
        stage.env["AIOTASK_MACHINE"] = "another one"
        dying = stage.start(1)
        del stage.env["AIOTASK_MACHINE"]
        wait_until(lambda: has_keeper(dying), description="there is a keeper")
        with asyncio.Runner() as runner:
            runner.run(send(stage))
        wait_until(lambda: stage.ledger.runs("held"), description="it has the job")
        stage.start(1)
        kill_all(dying)
        yield stage
        with asyncio.Runner() as runner:
            runner.run(cancel(stage))


async def send(stage: Stage) -> None:
    await stage.anap.apply_async(NEVER, "held").sent()


async def cancel(stage: Stage) -> None:
    """It may have been found by nobody yet, where few of the tests were asked for."""
    with contextlib.suppress(AiotaskError):
        await stage.app.result(stage.ledger.runs("held")[0].id).cancel()


# ---- keepers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
@pytest.mark.trap("out of reach")
async def test_another_keeper_takes_over_from_one_that_is_gone_or_silent(stage: Stage, number: signal.Signals) -> None:
    supervisor = stage.start(1)
    await two_children(supervisor)
    keeper = keeper_of(supervisor)
    before = await live(stage)
    keeper.send_signal(number)
    # What it does not do meanwhile, its successor does: a death that it could not hear of.
    result = stage.nap.apply_async(0.3)
    worker = await started(stage, "nap")
    os.kill(worker, signal.SIGKILL)
    assert await result == 1
    await two_children(supervisor)
    assert keeper_of(supervisor).pid != keeper.pid
    assert not keeper.is_running()
    assert "; a new one takes over." in supervisor.log
    assert not set(before) & set(await live(stage))
    assert supervisor.stop() == 0


# ---- supervisors and hosts


@pytest.mark.trap("orphaned workers")
async def test_without_its_supervisor_a_keeper_ends_the_workers_and_gives_back_what_they_held(stage: Stage) -> None:
    supervisor = stage.start(2)
    sync = stage.start_program.apply_async(NEVER)
    coroutine = stage.anap.apply_async(NEVER, "async")
    await started(stage, "start_program")
    await started(stage, "async")
    (program,) = await wait_until_async(
        lambda: [run.label for run in stage.ledger.runs() if isinstance(run.label, int)], description="it runs"
    )
    family = supervisor.session()
    assert program in [process.pid for process in family] and len(family) == 4
    supervisor.signal(signal.SIGKILL)
    assert supervisor.wait() == -signal.SIGKILL
    psutil.wait_procs(family, timeout=30)
    assert supervisor.session() == []

    # No strike, no attempt, no lease that somebody would have to wait for.
    for result in (sync, coroutine):
        meta = await meta_of(stage, result.id)
        assert (meta.attempt, meta.deaths) == (1, 0)
        assert await result.status() == "PENDING"
    assert await live(stage) == []
    assert "The supervisor is gone; ending its workers and requeueing their jobs." in supervisor.log
    assert await sync.cancel() and await coroutine.cancel()


async def test_a_host_that_is_gone_as_a_whole_is_noticed_by_another_one(gone: Stage) -> None:
    held = gone.ledger.runs("held")[0]
    await started(gone, "held", 2)
    again = gone.ledger.runs("held")[1]
    assert again.pid != held.pid and held.end is None
    # Not the fault of the job.
    meta = await meta_of(gone, held.id)
    assert (meta.attempt, meta.deaths) == (1, 0)
    assert len(await live(gone)) == 1
    assert "has shown no sign of life for 10 s: its jobs are requeued." in gone.workers.all[-1].log
    assert await gone.app.result(held.id).cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lease decides alone")
async def test_what_was_killed_as_a_whole_and_is_started_again_does_not_wait_for_a_lease(stage: Stage) -> None:
    first = stage.start(1)
    stuck = stage.start_program.apply_async(NEVER)
    worker = await started(stage, "start_program")
    (program,) = await wait_until_async(
        lambda: [run.label for run in stage.ledger.runs() if isinstance(run.label, int)], description="it runs"
    )
    second = stage.start(1, "--queues", "second")
    jobs = [stage.anap.options(queue="second").apply_async(NEVER, f"held {n}") for n in range(3)]
    for n in range(3):
        assert await started(stage, f"held {n}") != worker
    await asyncio.gather(*(two_children(supervisor) for supervisor in (first, second)))
    for supervisor in (first, second):
        kill_all(supervisor)

    again = stage.start(2, "--queues", "default,second")
    for n in range(3):
        await started(stage, f"held {n}", 2)
    gone = rf"The processes of host \S+-{second.pid}-\w+ on this machine are gone: its jobs are requeued\."
    assert re.search(gone, again.log)
    # What a task of the first one had started outlived it, so that job has to wait.
    assert len(stage.ledger.runs("start_program")) == 1
    os.kill(program, signal.SIGKILL)
    await started(stage, "start_program", 2)
    assert re.search(gone.replace(str(second.pid), str(first.pid)), again.log)
    assert "no sign of life" not in again.log
    for result in (stuck, *jobs):
        meta = await meta_of(stage, result.id)
        assert (meta.attempt, meta.deaths) == (1, 0)
        assert await result.cancel()
