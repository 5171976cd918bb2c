"""Time limits and cancels against real processes: what reacts is interrupted, what does not is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask.errors import JobCancelled, JobOutOfMemory, JobTimeout

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import running_workers

#: Beyond any doubt: a job with this limit never reaches it.
NEVER = 100.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    """An app of this module, with one process that all tests share: its pid shows whether it was killed."""
    directory: Path = tmp_path_factory.mktemp("limits")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("hazards", workers, directory / "ledger") as stage,
    ):
        stage.start(1)
        yield stage


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


async def deaths_of(stage: Stage, id: str) -> int:
    """How many processes died with this unfinished job by the broker's account."""
    async with stage.app.inspector() as inspector:
        job = await inspector.job(id)
    assert job is not None
    return job.meta.deaths


async def started(stage: Stage, label: str, times: int = 1) -> None:
    await wait_until_async(
        lambda: len(stage.ledger.runs(label)) >= times, description=f"{label} has started {times} times"
    )


# ---- what reacts


async def test_an_async_job_is_cancelled_at_its_limit(stage: Stage) -> None:
    before = await stage.pid.apply_async()
    with pytest.raises(JobTimeout, match=r"ran longer than its limit of 0\.1 s"):
        await stage.anap.options(timeout=0.1).apply_async(NEVER, "cancelled")
    (run,) = stage.ledger.runs("cancelled")
    assert run.end is not None
    assert await stage.pid.apply_async() == before


@pytest.mark.parametrize("task", ["nap", "loop_in_python", "insist"])
async def test_a_sync_job_is_interrupted_at_its_limit(stage: Stage, task: str) -> None:
    before = await stage.pid.apply_async()
    arguments = {"nap": (NEVER,), "loop_in_python": (), "insist": (3,)}[task]
    with pytest.raises(JobTimeout, match=r"ran longer than its limit of 0\.1 s") as caught:
        await getattr(stage, task).options(timeout=0.1).apply_async(*arguments)
    # Where it was.
    assert f"in {task}" in "".join(getattr(caught.value, "__notes__", ()))
    assert await stage.pid.apply_async() == before


async def test_the_limit_is_one_of_each_run(stage: Stage) -> None:
    results = [
        task.options(timeout=0.1, retries=1).apply_async(NEVER, "again") for task in (stage.nap, stage.anap, stage.anap)
    ]
    for result in results:
        with pytest.raises(JobTimeout):
            await result
        assert [run.attempt for run in stage.ledger.runs("again") if run.id == result.id] == [1, 2]


async def test_a_limit_that_is_not_reached_changes_nothing(stage: Stage) -> None:
    assert await stage.nap.options(timeout=NEVER).apply_async(0.01) == 1
    assert await stage.anap.options(timeout=NEVER).apply_async(0.01) == 1


@pytest.mark.trap("limit hits the next")
async def test_a_limit_at_the_very_end_of_a_job_never_hits_the_next_one(stage: Stage) -> None:
    """Jobs about as long as their limit, and between them jobs without one, which must all succeed: short ones, and
    some that are long enough to be hit by what was left of the limit before."""
    before = await stage.pid.apply_async()
    limit, rounds = 0.01, 200
    limited, beside = [], []
    for n in range(rounds):
        limited.append(stage.nap.options(timeout=limit).apply_async(limit * (0.2 + n % 11 / 10), "edge"))
        beside.append(stage.nap.apply_async(limit, "free") if n % 2 else stage.echo.apply_async(1))
        beside.append(stage.echo.options(timeout=NEVER).apply_async(1))
    ends = await asyncio.gather(*limited, return_exceptions=True)
    assert await asyncio.gather(*beside) == [1] * (2 * rounds)
    # Both happened, so the edge was really met; and nothing else did.
    assert {end if isinstance(end, int) else type(end) for end in ends} == {1, JobTimeout}
    assert await stage.pid.apply_async() == before


# ---- what does not react


@pytest.mark.trap("out of reach")
async def test_what_does_not_react_is_killed_and_its_neighbours_run_again_without_a_strike(stage: Stage) -> None:
    before = await stage.pid.apply_async()
    neighbour = stage.anap.apply_async(2.5, "neighbour")
    await started(stage, "neighbour")
    with pytest.raises(JobTimeout, match="did not react; its process was killed") as caught:
        await stage.hold_the_gil.options(timeout=0.1).apply_async()
    # Where it hung, though it held the GIL.
    assert "hold_the_gil (apps/hazards.py:" in str(caught.value)
    await started(stage, "neighbour", 2)
    assert await deaths_of(stage, neighbour.id) == 0
    assert await neighbour == 1
    first, second = stage.ledger.runs("neighbour")
    assert (first.pid, first.end) == (before, None)
    assert second.pid != before and second.end is not None
    assert len(stage.ledger.runs("hold_the_gil")) == 1


async def test_a_job_that_had_to_be_killed_is_retried_as_any_other(stage: Stage) -> None:
    result = stage.hold_the_gil.options(timeout=0.5, retries=1).apply_async(True)
    assert await result == "in the end"
    assert [run.attempt for run in stage.ledger.runs("hold_the_gil") if run.id == result.id] == [1, 2]


async def test_nothing_that_a_job_swallows_keeps_it_alive(stage: Stage) -> None:
    hanging: dict[str, Any] = {
        "swallow": stage.swallow.options(timeout=0.1).apply_async(),
        "aswallow": stage.aswallow.options(timeout=0.1).apply_async(),
    }
    for result in hanging.values():
        with pytest.raises(JobTimeout):
            await result
    with pytest.raises(JobTimeout, match=r"block_the_loop \(apps/hazards\.py:"):
        await stage.block_the_loop.options(timeout=0.1).apply_async(NEVER)
    for label in (*hanging, "block_the_loop"):
        # Interrupted or not, it was run once; the ones that were not yet at their limit were run again.
        assert stage.ledger.runs(label)[-1].end is None
    assert await stage.echo.apply_async(1) == 1


# ---- cancels


@pytest.mark.parametrize("task", ["nap", "anap"])
async def test_a_running_job_that_reacts_is_cancelled_without_a_death(stage: Stage, task: str) -> None:
    before = await stage.pid.apply_async()
    result = getattr(stage, task).options(retries=3).apply_async(NEVER, f"{task} to cancel")
    await started(stage, f"{task} to cancel")
    await result.cancel()
    with pytest.raises(JobCancelled):
        await result
    (run,) = stage.ledger.runs(f"{task} to cancel")
    assert run.end is not None
    assert await stage.pid.apply_async() == before


@pytest.mark.parametrize("tasks", [["swallow", "aswallow"], ["hold_the_gil"]], ids="-".join)
async def test_running_jobs_that_do_not_react_to_a_cancel_are_killed(stage: Stage, tasks: list[str]) -> None:
    before = {task: len(stage.ledger.runs(task)) for task in tasks}
    results = [getattr(stage, task).options(retries=3).apply_async() for task in tasks]
    for task in tasks:
        await started(stage, task, before[task] + 1)
    for result in results:
        await result.cancel()
    for result in results:
        with pytest.raises(JobCancelled):
            await result
    assert await stage.echo.apply_async(2) == 2
    assert {task: len(stage.ledger.runs(task)) - before[task] for task in tasks} == dict.fromkeys(tasks, 1)


# ---- limits of CPU and memory


async def test_a_job_that_uses_up_its_cpu_time_is_ended_as_at_a_time_limit(stage: Stage) -> None:
    before = await stage.pid.apply_async()
    for task in (stage.burn, stage.aburn):
        with pytest.raises(JobTimeout, match=r"used more CPU than its limit of 0\.3 s"):
            await task.apply_async(NEVER)
    # Time that it waits is no CPU time, and what it leaves behind counts for no other job.
    rested = stage.wait_long.apply_async()
    assert await stage.aburn.apply_async(0.05) == 1
    assert await rested == "rested"
    assert await stage.burn.apply_async(0.05) == 1
    assert await stage.pid.apply_async() == before

    for task in (stage.burn_in_c, stage.burn_and_stay, stage.aburn_and_stay):
        with pytest.raises(JobTimeout, match=r"used more CPU than its limit of 0\.3 s, and did not react") as caught:
            await task.apply_async()
        if task is stage.burn_in_c:
            assert "burn_in_c (apps/hazards.py:" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory another process holds")
async def test_a_job_that_takes_too_much_memory_is_killed_and_its_neighbours_run_again(stage: Stage) -> None:
    assert await stage.hoard.apply_async(20) == 20_000_000
    neighbour = stage.anap.apply_async(1.0, "beside")
    await started(stage, "beside")
    result = stage.hoard.options(retries=1).apply_async(200)
    with pytest.raises(JobOutOfMemory, match=r"took \d+ MB of memory, more than its limit of 64 MB.*memory="):
        await result
    assert [run.attempt for run in stage.ledger.runs("hoard") if run.id == result.id] == [1, 2]
    assert await neighbour == 1
    assert await stage.echo.apply_async(3) == 3


async def test_a_task_that_takes_the_alarm_for_itself_has_a_time_limit_all_the_same(stage: Stage) -> None:
    before = await stage.pid.apply_async()
    with pytest.raises(JobTimeout, match=r"ran longer than its limit of 0\.1 s"):
        await stage.take_the_alarm.options(timeout=0.1).apply_async()
    # Neither its handler nor its alarm is there for the next one.
    assert await stage.nap.apply_async(0.8) == 1
    with pytest.raises(JobTimeout):
        await stage.nap.options(timeout=0.1).apply_async(NEVER)
    assert await stage.pid.apply_async() == before
