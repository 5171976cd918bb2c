"""Two features at once in real worker processes: limits, keys, streams, batches, expiry, pauses and schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aiotask import JobExpired, Status, gather

from ..helpers import wait_until, wait_until_async
from ..workers import running_workers
from .ledger import Entry, most_at_once
from .stage import Stage, prepared

TIMEOUT = 90


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One worker process with one seat: what keeps a seat keeps all others waiting."""
    directory = tmp_path_factory.mktemp("pairs")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("pairs", workers, directory / "ledger")
        stage.start(1, "--max-in-flight", "1")
        yield stage


@pytest.fixture
def pairs(service: Stage) -> Iterator[Stage]:
    with service.active():
        yield service


def open_door(stage: Stage, door: str) -> None:
    (stage.ledger.directory / f"{door}.open").touch()


async def has_begun(stage: Stage, label: str) -> Entry:
    runs = await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} runs", timeout=TIMEOUT)
    return runs[0]


# ---- streams and limits


@pytest.mark.parametrize("name", ["reading", "reading_in_thread"])
async def test_a_limited_stream_keeps_its_slot_while_it_waits_for_its_reader(pairs: Stage, name: str) -> None:
    task, first, second = getattr(pairs, name), f"{name} 1", f"{name} 2"
    items = task.apply_async(first, 1_000).items()
    assert await anext(items) == (1, 1)
    other = task.apply_async(second, 10)
    # An async one has left its only seat; a sync one has its own thread.
    assert await pairs.plain.apply_async(f"beside {name}").wait(TIMEOUT) == f"beside {name}"

    assert await other.status() is Status.PENDING
    assert not pairs.ledger.runs(second)
    assert [number async for _, number in items] == list(range(2, 1_001))
    assert await other.wait(TIMEOUT) == list(range(1, 11))
    assert most_at_once([*pairs.ledger.runs(first), *pairs.ledger.runs(second)]) == 1


async def test_a_limited_stream_keeps_its_slot_over_the_death_of_its_worker(pairs: Stage) -> None:
    (pairs.ledger.directory / "after it.first").touch()
    first, second = pairs.dying.apply_async("death", 2_000), pairs.dying.apply_async("after it", 10)

    assert [number async for number in first] == list(range(1, 2_001))
    assert await second.wait(TIMEOUT) == list(range(1, 11))
    [_, again], [after] = pairs.ledger.runs("death"), pairs.ledger.runs("after it")
    assert again.end is not None and after.start >= again.end


# ---- streams and keys


async def test_both_handles_on_a_unique_stream_read_its_items(pairs: Stage) -> None:
    first, second = pairs.shared.apply_async("shared", 100), pairs.shared.apply_async("shared", 100)
    reading = [asyncio.create_task(collect(stream)) for stream in (first, second)]
    await has_begun(pairs, "shared")
    third = pairs.shared.apply_async("shared", 100)
    await third.sent()
    open_door(pairs, "shared")

    assert await asyncio.wait_for(asyncio.gather(*reading), TIMEOUT) == [list(range(1, 101))] * 2
    assert await third.wait(TIMEOUT) == list(range(1, 101))
    assert first.id == second.id == third.id
    assert len(pairs.ledger.runs("shared")) == 1


async def collect(stream: Any) -> list[int]:
    return [number async for number in stream]


# ---- graphs and keys


async def test_graphs_whose_root_has_a_key_are_one_while_that_has_not_ended(pairs: Stage) -> None:
    async def send(n: int) -> Any:
        part = pairs.knock.s("total", f"part {n}")
        result = pairs.total.s("total", part.cast, str(n)).apply_async()
        await result.sent()
        return result

    results = [await send(n) for n in range(5)]
    await has_begun(pairs, "part 0")
    results.append(await send(5))
    open_door(pairs, "total")

    assert await asyncio.wait_for(gather(results), TIMEOUT) == ["part 0 0"] * 6
    assert len({result.id for result in results}) == len(pairs.ledger.runs("total")) == 1
    assert await (await send(6)).wait(TIMEOUT) == "part 6 6"


# ---- lines


async def test_a_job_expires_in_its_line(pairs: Stage) -> None:
    results = [pairs.knock.apply_async("expiring", "holder")]
    await has_begun(pairs, "holder")
    expired = pairs.knock.options(expires=0.3).apply_async("expiring", "too late")
    results.append(pairs.knock.apply_async("expiring", "in time"))

    with pytest.raises(JobExpired):
        await expired.wait(TIMEOUT)
    assert await results[1].status() is Status.PENDING
    open_door(pairs, "expiring")
    assert await asyncio.wait_for(gather(results), TIMEOUT) == ["holder", "in time"]
    assert not pairs.ledger.runs("too late")


async def test_nothing_of_a_line_starts_while_its_queue_or_task_is_paused(pairs: Stage) -> None:
    queue = pairs.knock.definition.queue
    for how in ({"queue": queue}, {"task": pairs.knock.definition.name}):
        name = next(iter(how))
        holder = pairs.knock.apply_async(name, f"{name} holder")
        await has_begun(pairs, f"{name} holder")
        waiting = [pairs.knock.apply_async(name, f"{name} {n}") for n in range(3)]
        await waiting[-1].sent()
        await pairs.app.pause(**how)
        open_door(pairs, name)
        assert await holder.wait(TIMEOUT) == f"{name} holder"

        # A job of another queue, which the paused one does not hold up, passes the worker meanwhile.
        beside = pairs.plain.options(queue="threads").apply_async(f"beside the paused {name}")
        assert await beside.wait(TIMEOUT)
        if name == "task":
            await are_parked(waiting)
        assert not any(pairs.ledger.runs(f"{name} {n}") for n in range(3))
        assert await pairs.app.resume(**how)
        assert await asyncio.wait_for(gather(waiting), TIMEOUT) == [f"{name} {n}" for n in range(3)]
        assert most_at_once(run for run in pairs.ledger.runs() if str(run.label).startswith(f"{name} ")) == 1
        assert [run.label for run in pairs.ledger.runs() if str(run.label).startswith(f"{name} ")][1:] == [
            f"{name} {n}" for n in range(3)
        ]


async def are_parked(results: list[Any]) -> None:
    async def all_are() -> bool:
        return {await result.status() for result in results} == {Status.PARKED}

    await wait_until_async(all_are, description="all of them are parked", timeout=TIMEOUT)


# ---- debounce and limits


async def test_calls_that_replace_each_other_in_a_line_run_once_with_the_last_arguments(pairs: Stage) -> None:
    holder = pairs.save.apply_async("held", "first", "held")
    await has_begun(pairs, "held first")
    waiting = [pairs.save.apply_async("waiting", f"draft {n}") for n in range(20)]
    delayed = [pairs.save.options(delay=0.2, max_wait=60).apply_async("delayed", f"draft {n}") for n in range(20)]
    await waiting[-1].sent()
    await delayed[-1].sent()
    open_door(pairs, "held")

    assert await asyncio.wait_for(gather([holder, *waiting, *delayed]), TIMEOUT) == [
        "first",
        *["draft 19"] * 40,
    ]
    runs = [run for run in pairs.ledger.runs() if str(run.label).startswith(("held ", "waiting ", "delayed "))]
    assert sorted(run.label for run in runs) == ["delayed draft 19", "held first", "waiting draft 19"]
    assert most_at_once(runs) == 1


# ---- batches and rates


async def test_the_items_of_batches_keep_to_a_rate(pairs: Stage) -> None:
    results = [pairs.embed.apply_async(n) for n in range(30)]

    assert await asyncio.wait_for(gather(results), TIMEOUT) == [2 * n for n in range(30)]
    starts = [run.start for run in pairs.ledger.runs("embed")]
    # A rate is one of tokens: an item that was lent waits for its batch for 0.05 s more.
    for first, start in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= 20.0 * (starts[last] - start + 0.15) + 1


# ---- schedules with keys and limits


async def test_runs_of_a_schedule_are_one_job_while_the_last_has_not_ended(pairs: Stage) -> None:
    await pairs.app.schedules.set("long", pairs.long_run.s("long"), every=0.1)
    try:
        await has_begun(pairs, "long")
        await runs_of(pairs, "long", 8)
        assert len(pairs.ledger.runs("long")) == 1
        open_door(pairs, "long")
        await wait_until_async(lambda: len(pairs.ledger.runs("long")) > 2, description="it runs again")
    finally:
        await pairs.app.schedules.remove("long")
    assert most_at_once(pairs.ledger.runs("long")) == 1


async def test_runs_of_a_schedule_keep_to_the_limit_of_their_task(pairs: Stage) -> None:
    await pairs.app.schedules.set("slow", pairs.slow_run.s("slow"), every=0.1)
    try:
        sent = await runs_of(pairs, "slow", 5)
    finally:
        await pairs.app.schedules.remove("slow")
    # Each run is a job, and those that are late wait in the line.
    wait_until(lambda: pairs.ledger.ended("slow") >= sent, description="all of them have run", timeout=TIMEOUT)
    assert most_at_once(pairs.ledger.runs("slow")) == 1


async def runs_of(stage: Stage, name: str, count: int) -> int:
    """Wait until a schedule has run so often; how often it had."""

    async def found() -> int:
        runs = [schedule.runs async for schedule in stage.app.schedules.list() if schedule.name == name]
        return runs[0] if runs and runs[0] >= count else 0

    return await wait_until_async(found, description=f"{name} has run {count} times", timeout=TIMEOUT)
