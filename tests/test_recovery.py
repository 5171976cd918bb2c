"""What dies and what becomes of its jobs: workers, keepers, supervisors, whole hosts, and jobs that kill."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiotask import ResultDB, Status
from aiotask.broker import Replayed
from aiotask.brokers import connect, inspect
from aiotask.errors import AiotaskError, WorkerLost

from .acceptance.ledger import most_at_once
from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import Supervisor, Workers, running_workers

#: Beyond any doubt: nothing here sleeps so long to its end.
NEVER = 100.0


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage


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
    psutil.wait_procs(family, timeout=10)


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


#: Nothing says that memory was short.
KILLED = "signal 9 (SIGKILL: from outside, perhaps by the kernel for want of memory)"
PILLS = [
    ("crash", "segfault", "signal 11 (SIGSEGV) in string_at ("),
    ("crash", "abort", "signal 6 (SIGABRT) in die (apps/hazards.py:"),
    ("crash", "1", "exit code 1"),
    ("crash", "0", "exit code 0"),
    ("acrash", "segfault", "signal 11 (SIGSEGV) in string_at ("),
    ("acrash", "75", "exit code 75"),
]


async def test_a_job_that_kills_is_given_up_after_three_deaths_and_no_innocent_with_it(stage: Stage) -> None:
    innocents: list[Any] = []
    pills = []
    for task, how, _ in PILLS:
        innocents += [stage.aecho.apply_async(n) for n in range(20)]
        innocents += [stage.nap.apply_async(0.01, "innocent") for _ in range(5)]
        innocents += [stage.anap.apply_async(0.2, "innocent") for _ in range(5)]
        pills.append(getattr(stage, task).options(retries=5).apply_async(how))
    await stage.app.flush()
    supervisor = stage.start(2)

    ends = await asyncio.gather(*pills, return_exceptions=True)
    for (task, how, last), end in zip(PILLS, ends, strict=True):
        assert isinstance(end, WorkerLost), end
        assert f"was given up: 3 processes died while they ran it, the last one by {last}" in str(end)
        assert end.stderr.endswith(f"going to die of {how}\nas C code says it"), end.stderr
        assert "Its last lines of stderr:" in str(end) and "  as C code says it" in str(end)
        assert (end.signal is None) is last.startswith("exit code") and end.signal in (None, 6, 11)
        assert end.exit_code == (int(how) if end.signal is None else None)
        assert ("in die" in end.stack) is (end.signal is not None)
        assert 10**7 < (end.peak_memory or 0) < 10**9
        assert len(stage.ledger.runs(f"{task} {how}")) == 3
    values = await asyncio.gather(*innocents)
    assert values == [*range(20), *([1] * 10)] * len(PILLS)
    async with stage.app.inspector() as inspector:
        assert {letter.id for letter in await inspector.dead()} == {pill.id for pill in pills}
    for runs in {run.id: [r for r in stage.ledger.runs() if r.id == run.id] for run in stage.ledger.runs()}.values():
        # A killed run has no end; the one that follows it begins after the last sign of it.
        assert most_at_once([run for run in runs if run.end is not None]) <= 1
    # What was kept of its end is in the log as well; one death may count for two of them.
    assert supervisor.log.count("\nas C code says it\n") >= len(PILLS)
    assert supervisor.stop() == 0


async def test_who_waits_for_a_job_that_kills_hears_of_it_and_is_not_convicted_with_it(stage: Stage) -> None:
    # Both are in the one process that there is, each time.
    supervisor = stage.start(1)
    waiting = stage.await_a_pill.apply_async("abort")
    assert await waiting == "heard of it"
    assert len(stage.ledger.runs("acrash abort")) == 3
    async with stage.app.inspector() as inspector:
        assert [letter.id for letter in await inspector.dead()] == [f"pill-{waiting.id}"]
    # The same for one whose process dies when it has ended, and nobody was told.
    with pytest.raises(WorkerLost, match=re.escape("signal 6 (SIGABRT) in die (apps/hazards.py:")):
        await stage.acrash_after.apply_async("abort")
    with pytest.raises(WorkerLost, match="the last one by exit code 0"):
        await stage.acrash_after.apply_async("0")
    assert len(stage.ledger.runs("acrash_after abort")) == len(stage.ledger.runs("acrash_after 0")) == 3
    assert supervisor.stop() == 0


async def test_a_job_that_kills_does_not_convict_its_neighbour_of_another_app(stage: Stage) -> None:
    neighbour = importlib.import_module(f"{stage.name.rpartition('.')[0]}.neighbour")
    try:
        supervisor = stage.workers.start(stage.name, neighbour.__name__, env=stage.env)
        # It runs at the first death; if it did at the others too, it would be given up.
        beside = neighbour.anap.apply_async(1.5, "beside")
        await started(stage, "beside")
        with pytest.raises(WorkerLost):
            await stage.crash.apply_async("abort")
        assert await beside == "beside"
        assert [run.end is None for run in stage.ledger.runs("beside")] == [True, False]
        assert supervisor.stop() == 0
    finally:
        sys.modules.pop(neighbour.__name__)


async def test_what_failed_in_its_last_retry_is_run_again_once_its_cause_is_mended(
    stage: Stage, tmp_path: Path
) -> None:
    supervisor = stage.start(1, "--result-db", str(tmp_path / "results.db"))
    history = ResultDB(tmp_path / "results.db")
    failed = stage.fail_until_mended.apply_async("patient")
    hopeless = stage.fail_until_mended.options(retries=0).apply_async("hopeless")
    for result in (failed, hopeless):
        with pytest.raises(KeyError):
            await result
    await wait_until_async(lambda: history.fetch_status(failed.id), description="it is recorded")
    broker = connect(stage.app.url, stage.app.name)
    try:
        # One that was to run once has its outcome, and that is all.
        assert [letter.id for letter in await inspect(broker).dead()] == [failed.id]
        (stage.ledger.directory / "mended").touch()
        assert await broker.replay([failed.id]) == [Replayed.DONE]
        assert await broker.replay([failed.id]) == [Replayed.MISSING]
    finally:
        await broker.close()
    assert await stage.app.result(failed.id) == "mended"
    # Who awaited the first outcome keeps it.
    with pytest.raises(KeyError):
        await failed
    record = await wait_until_async(
        lambda: _succeeded(history, failed.id), description="the history has the new outcome alone"
    )
    assert record.attempts == 1 and len(stage.ledger.runs("patient")) == 3
    await history.close()
    assert supervisor.stop() == 0


async def _succeeded(history: ResultDB, id: str) -> Any:
    record = await history.fetch_record(id)
    return record if record is not None and record.status is Status.SUCCESS else None


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
