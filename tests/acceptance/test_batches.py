"""T21: batch tasks in real worker processes: full lists, lone calls, single errors, deaths and the end of workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import JobCancelled, JobTimeout, Status, WorkerLost

from ..helpers import wait_until_async
from ..workers import Supervisor, Workers
from .stage import Stage, staged

TIMEOUT = 90

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("batched", workers, tmp_path / "ledger") as stage:
        yield stage


def task_of(stage: Stage, name: str, kind: str) -> Any:
    return getattr(stage, f"a{name}" if kind == "async" else name)


def lists(stage: Stage) -> list[list[str]]:
    """The lists with which tasks were called."""
    return [run.label for run in stage.ledger.runs()]


async def ends(results: list[Any]) -> list[Any]:
    async with asyncio.timeout(TIMEOUT):
        return await asyncio.gather(*results, return_exceptions=True)


async def gathered(results: list[Any]) -> None:
    """Return once a worker has claimed all of these jobs."""

    async def are_claimed() -> bool:
        return {await result.status() for result in results} == {Status.RUNNING}

    await wait_until_async(are_claimed, description="all jobs are gathered", timeout=TIMEOUT)


@KINDS
async def test_t21_a_thousand_calls_come_in_lists_of_64(stage: Stage, kind: str) -> None:
    task = task_of(stage, "patient", kind)
    results = [task.apply_async(f"item {n}") for n in range(1024)]
    await stage.app.flush()
    stage.start(1)

    assert await ends(results) == [f"item {n}" for n in range(1024)]

    assert [len(items) for items in lists(stage)] == [64] * 16


@KINDS
async def test_t21_a_lone_call_is_served_and_the_error_of_an_item_is_its_own(stage: Stage, kind: str) -> None:
    stage.start(1)
    task = task_of(stage, "vector", kind)

    assert await ends([task.apply_async("lone")]) == ["LONE"]
    one, error, other = await ends([task.apply_async(item) for item in ("one", "bad", "other")])

    assert (one, other) == ("ONE", "OTHER")
    assert isinstance(error, ValueError) and str(error) == "bad"
    assert lists(stage)[0] == ["lone"]


@KINDS
async def test_t21_the_item_that_kills_its_process_is_found_and_the_others_end_well(stage: Stage, kind: str) -> None:
    stage.start(1)
    task = task_of(stage, "four", kind)
    results = {item: task.apply_async(item) for item in ("one", "two", "pill", "three")}

    one, two, pill, three = await ends(list(results.values()))

    assert [one, two, three] == ["one", "two", "three"]
    assert isinstance(pill, WorkerLost) and "3 processes died" in str(pill)
    calls = lists(stage)
    assert calls.count(["one", "two", "pill", "three"]) == 1
    alone = [items for items in calls if len(items) == 1]
    # One that runs beside the pill as its process dies runs once more.
    assert alone.count(["pill"]) == 2
    assert {alone.count([item]) for item in ("one", "two", "three")} <= {1, 2}
    async with stage.app.inspector() as inspector:
        assert [letter.id for letter in await inspector.dead()] == [results["pill"].id]


@KINDS
async def test_t21_an_accident_of_a_batch_costs_no_item_its_value(stage: Stage, kind: str) -> None:
    stage.start(1)
    task = task_of(stage, "four", kind)

    items = ["one", "once", "two", "three"]
    assert await ends([task.apply_async(item) for item in items]) == items


@KINDS
async def test_t21_what_is_gathered_goes_back_unrun_on_term(stage: Stage, kind: str) -> None:
    supervisor = stage.start(1)
    task = task_of(stage, "patient", kind)
    results = [task.apply_async(f"item {n}") for n in range(30)]
    await gathered(results)

    assert supervisor.stop() == 0

    assert {await result.status() for result in results} == {Status.PENDING}
    assert lists(stage) == []
    others = [task.apply_async(f"item {n}") for n in range(30, 64)]
    stage.start(1)
    assert await ends([*results, *others]) == [f"item {n}" for n in range(64)]
    (call,) = stage.ledger.runs()
    assert (len(call.label), call.attempt) == (64, 1)


@KINDS
async def test_t21_what_is_gathered_goes_to_another_worker_when_the_loop_stands_still(
    stage: Stage, kind: str, tmp_path: Path
) -> None:
    stage.start(1)
    task, gate = task_of(stage, "four", kind), tmp_path / "gate"
    results = [task.apply_async(f"item {n}") for n in range(3)]
    await gathered(results)
    stalls = stage.stall.apply_async(str(gate))
    await wait_until_async(lambda: stage.ledger.runs("stall"), description="the loop stands still")

    stage.start(1)
    results.append(task.apply_async("item 3"))

    assert await ends(results) == [f"item {n}" for n in range(4)]
    assert stage.ledger.ended("stall") == 0
    gate.touch()
    assert await ends([stalls]) == [None]
    (call,) = [items for items in lists(stage) if items != "stall"]
    assert sorted(call) == [f"item {n}" for n in range(4)]


async def test_t21_what_is_gathered_is_recovered_when_its_worker_is_killed(stage: Stage) -> None:
    supervisor = stage.start(1)
    results = [stage.patient.apply_async(f"item {n}") for n in range(30)]
    await gathered(results)
    kill_workers(supervisor)

    others = [stage.patient.apply_async(f"item {n}") for n in range(30, 64)]
    assert await ends([*results, *others]) == [f"item {n}" for n in range(64)]
    # None of them had begun, so none is a suspect.
    assert [len(items) for items in lists(stage)] == [64]


@KINDS
async def test_t21_kills_in_between_lose_no_item(stage: Stage, kind: str) -> None:
    supervisor = stage.start(2)
    task = task_of(stage, "slow", kind)
    results = []
    for round in range(6):
        if round % 2:
            # A job is hit by one kill at most: three would make it a dead letter.
            assert await ends(results[: 100 * (round - 1)]) == list(range(100 * (round - 1)))
        results += [task.apply_async(n) for n in range(100 * round, 100 * round + 100)]
        await stage.app.flush()
        seen = len(stage.ledger.runs())
        await wait_until_async(
            lambda seen=seen: len(stage.ledger.runs()) > seen, description="calls go on", timeout=TIMEOUT
        )
        if round % 2:
            kill_workers(supervisor, 1)

    assert await ends(results) == list(range(600))
    assert max(run.label for run in stage.ledger.runs()) > 1


async def test_t21_a_call_that_cannot_be_interrupted_is_ended_at_its_limit_for_every_item(stage: Stage) -> None:
    stage.start(1)

    errors = await ends([stage.limited.apply_async(item) for item in ("one", "two", "three")])

    assert [type(error) for error in errors] == [JobTimeout] * 3
    assert lists(stage) == [["one", "two", "three"]]


async def test_t21_a_cancel_of_one_item_does_not_end_the_call_of_the_other(stage: Stage) -> None:
    stage.start(1)
    kept, gone = stage.napping.apply_async("kept"), stage.napping.apply_async("gone")
    await wait_until_async(lambda: lists(stage), description="the call has begun")

    await gone.cancel()

    with pytest.raises(JobCancelled, match="while the rest of its batch goes on"):
        await gone.wait(TIMEOUT)
    assert stage.ledger.ended(["kept", "gone"]) == 0
    assert await kept.wait(TIMEOUT) == "kept"
    assert lists(stage) == [["kept", "gone"]]


async def test_t21_a_cancel_of_every_item_interrupts_the_call(stage: Stage) -> None:
    stage.start(1)
    results = [stage.limited.options(timeout=600).apply_async(item) for item in ("one", "two", "three")]
    await wait_until_async(lambda: lists(stage), description="the call has begun")

    for result in results:
        await result.cancel()

    assert [type(error) for error in await ends(results)] == [JobCancelled] * 3
    # Its thread is free again, or its process was replaced.
    assert await ends([stage.vector.apply_async("next")]) == ["NEXT"]


async def test_t21_workers_that_are_recycled_lose_no_item(stage: Stage) -> None:
    stage.start(1, "--max-jobs-per-child", "50")

    results = [stage.slow.apply_async(n) for n in range(400)]

    assert await ends(results) == list(range(400))
    assert len({run.pid for run in stage.ledger.runs()}) > 1


async def test_t21_a_burst_ends_when_nothing_is_gathered(stage: Stage) -> None:
    results = [stage.vector.apply_async(f"item {n}") for n in range(100)]
    await stage.app.flush()

    supervisor = stage.start(1, "--burst")

    assert supervisor.wait() == 0
    assert {await result.status() for result in results} == {Status.SUCCESS}


def kill_workers(supervisor: Supervisor, count: int = 8) -> None:
    """SIGKILL so many of its worker processes: those with threads, which the keeper has not."""
    for child in [child for child in supervisor.children() if child.num_threads() > 1][:count]:
        child.kill()
