"""Jobs beside each other: sync ones that block, and jobs that send jobs (A10, A12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import aiotask
from aiotask import ConfigError, Status, WorkerLost
from aiotask.worker.verdict import MAX_DEATHS

from ...helpers import wait_until_async
from ..ledger import most_at_once
from ..stage import Put, Stage

# ---- A10: a sync function that blocks


async def test_a10_a_blocked_sync_function_stalls_no_async_job(alone: Stage, tmp_path: Path) -> None:
    async with blocked_thread(alone, tmp_path / "gate"):
        values = await asyncio.wait_for(asyncio.gather(*(alone.add_async.apply_async(n, 0) for n in range(100))), 60)
        assert values == list(range(100))


async def test_a10_async_jobs_behind_a_row_of_sync_ones_are_not_stalled_either(alone: Stage, tmp_path: Path) -> None:
    async with blocked_thread(alone, tmp_path / "gate"):
        row = [alone.add.apply_async(n, 0) for n in range(50)]
        results = [alone.add_async.apply_async(n, 0) for n in range(100)]
        assert await asyncio.wait_for(aiotask.gather(results), 30) == list(range(100))
    assert await asyncio.wait_for(aiotask.gather(row), 60) == list(range(50))


async def test_a10_a_row_of_async_jobs_does_not_stall_sync_ones(stage: Put, tmp_path: Path) -> None:
    life = stage("life")
    await asyncio.to_thread(life.start, 1, "--max-in-flight", "2")
    row = [life.hold.apply_async(f"row {n}") for n in range(30)]
    results = [life.work.apply_async(f"{n}") for n in range(50)]
    try:
        assert await asyncio.wait_for(aiotask.gather(results), 30) == [f"{n}" for n in range(50)]
        assert len(life.ledger.runs()) == 52
    finally:
        await asyncio.to_thread(Path(life.GATE).touch)
    assert await asyncio.wait_for(aiotask.gather(row), 60) == [f"row {n}" for n in range(30)]


async def test_a10_sync_jobs_behind_a_blocked_one_go_to_another_process(calls: Stage, tmp_path: Path) -> None:
    async with blocked_thread(calls, tmp_path / "gate"):
        values = await asyncio.wait_for(asyncio.gather(*(calls.add.apply_async(n, 0) for n in range(100))), 60)
        assert values == list(range(100))


@asynccontextmanager
async def blocked_thread(calls: Stage, gate: Path) -> AsyncIterator[None]:
    """Meanwhile the main thread of one process is blocked."""
    blocked = calls.block_until.apply_async(str(gate))
    await wait_until_async(lambda: calls.ledger.runs("block"), description="a thread is blocked")
    try:
        yield
        assert await blocked.status() is Status.RUNNING
    finally:
        await asyncio.to_thread(gate.touch)
    assert await blocked.wait(60) == "free"


# ---- A12: jobs that send jobs


async def test_a12_a_task_sends_and_awaits_others_with_one_worker_process(alone: Stage) -> None:
    assert await alone.fibonacci.apply_async(8).wait(60) == 21
    assert await alone.sum_of_sync.apply_async(list(range(50))).wait(60) == 1_225


async def test_a12_as_many_parents_as_slots_and_more(alone: Stage) -> None:
    results = [alone.sum_of_sync.apply_async([n, 1]) for n in range(300)]
    assert await asyncio.wait_for(aiotask.gather(results), 60) == [n + 1 for n in range(300)]


async def test_a12_parents_that_wait_leave_their_place_to_others(stage: Put) -> None:
    calls = stage("calls")
    await asyncio.to_thread(calls.start, 1, "--max-in-flight", "1")
    assert await calls.fibonacci.apply_async(7).wait(60) == 13
    # And still only one at a time runs.
    results = [calls.relay.apply_async(0.005) for _ in range(20)]
    assert await asyncio.wait_for(aiotask.gather(results), 60) == [11] * 20
    runs = calls.ledger.runs()
    assert len(runs) == 40
    assert most_at_once(runs) == 1


async def test_a12_the_death_of_a_child_does_not_leave_its_parent_waiting(stage: Put) -> None:
    calls = stage("calls")
    await asyncio.to_thread(calls.start, 1)
    with pytest.raises(WorkerLost):
        await calls.parent_of_a_pill.apply_async().wait(60)
    # Each of its runs sends a new pill, and who only waits is not to blame for what dies alone beside it: so it is
    # run again until it has been in the process three times with a poison pill that the broker did not know yet.
    assert len(calls.ledger.runs("parent")) <= MAX_DEATHS**2
    assert await calls.add_async.apply_async(1).wait(60) == 11


async def test_a12_a_sync_task_may_wait_with_a_timeout_only(alone: Stage) -> None:
    assert await alone.ask_async.apply_async(1).wait(60) == 11
    with pytest.raises(ConfigError, match="Give it a timeout"):
        await alone.wait_for_itself.apply_async(1).wait(60)
