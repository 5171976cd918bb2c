"""Nodes of graphs in an in-loop worker, on every broker: what they take, what they return, how they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiotask import App, DependencyFailed, JobCancelled, Status, group
from aiotask.brokers import connect, graphs_of

from .helpers import wait_until_async


class Shop:
    """An app, its tasks, and what they have run."""

    def __init__(self, url: str, name: str) -> None:
        self.app = app = App(name, url=url)
        self.runs: list[Any] = []
        self.gate = asyncio.Event()
        runs, gate = self.runs, self.gate

        @app.task(name="shop:give")
        async def give(value: Any) -> Any:
            runs.append(value)
            return value

        @app.task(name="shop:sync")
        def sync(value: Any) -> Any:
            return value

        @app.task(name="shop:late", queue="late")
        def late(value: Any) -> Any:
            runs.append("late")
            return value

        @app.task(name="shop:boom")
        async def boom(text: str) -> int:
            raise KeyError(text)

        @app.task(name="shop:check")
        def check(number: int) -> int:
            if number % 5 == 3:
                raise ValueError(number)
            return number

        @app.task(name="shop:acheck")
        async def acheck(number: int) -> int:
            return check(number)

        @app.task(name="shop:held")
        async def held(value: Any) -> Any:
            runs.append("held")
            await gate.wait()
            return value

        self.give, self.sync, self.boom, self.held = give, sync, boom, held
        self.check, self.acheck, self.late = check, acheck, late
        self._add_what_returns_calls(app)

    def _add_what_returns_calls(self, app: App) -> None:
        sync = self.sync

        @app.task(name="shop:fold")
        async def fold(values: list[int]) -> Any:
            """The sum, by halves."""
            if len(values) < 2:
                return sum(values)
            half = len(values) // 2
            return add.s(fold.s(values[:half]).cast, fold.s(values[half:]).cast)

        @app.task(name="shop:add")
        def add(a: int, b: int) -> int:
            return a + b

        @app.task(name="shop:squares")
        async def squares(count: int) -> Any:
            return group(sync.s(number * number) for number in range(count))

        self.fold, self.squares = fold, squares


@pytest.fixture
async def shop(broker_url: str, app_name: str) -> AsyncIterator[Shop]:
    url = f"{broker_url}{app_name}" if broker_url == "memory://" else broker_url
    shop = Shop(url, app_name)
    async with shop.app, shop.app.worker():
        yield shop


async def test_a_call_takes_values_from_upstream_wherever_they_stand(shop: Shop) -> None:
    calls = [shop.give.s(1), shop.sync.s("two"), shop.give.s(None)]
    result = shop.sync.s({"all": [call.cast for call in calls], "first": (calls[0].cast,)}).apply_async()

    assert await result == {"all": [1, "two", None], "first": (1,)}


async def test_a_job_that_returns_calls_has_their_value(shop: Shop) -> None:
    assert await shop.fold.apply_async(list(range(33))) == sum(range(33))
    assert await shop.give.s([shop.fold.s([1, 2, 3]).cast]).apply_async() == [6]
    assert await shop.squares.apply_async(4) == [0, 1, 4, 9]


async def test_the_log_shows_that_a_job_waits_and_why_another_was_not_run(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiotask")
    fold = shop.fold.apply_async([1, 2])
    await fold
    boom = shop.boom.s("no")
    result = shop.give.s(boom.cast).apply_async()
    with pytest.raises(DependencyFailed):
        await result

    lines = [record.getMessage() for record in caplog.records]
    of_fold = [line.split(",")[0] for line in lines if fold.id in line]
    assert [line.split()[0] for line in of_fold] == ["→", "⋯", "■"] and of_fold[1].endswith("waits")
    [line] = [line for line in lines if f"shop:give {result.id}" in line]
    assert line.startswith(f"× shop:give {result.id} DependencyFailed: This job was not run because job")  # noqa: RUF001
    assert not any("→" in line and result.id in line for line in lines)


@pytest.mark.parametrize("task", ["check", "acheck"])
async def test_the_error_of_an_item_in_a_chunk_says_which(
    shop: Shop, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = getattr(shop, task).map(range(20, 26), chunk=4)

    with pytest.raises(ValueError, match="23") as caught:
        await result
    assert any("This was item 3 of the 4 in the chunk" in note for note in caught.value.__notes__)
    assert await result.members[1] == [24, 25]
    assert any(", item 3: ValueError: 23" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("serializer", ["cloudpickle", "json"])
async def test_the_calls_of_a_chunk_return_calls(app_name: str, serializer: str) -> None:
    app = App(app_name, url=f"memory://{app_name}", serializer=serializer)

    @app.task(name="shop:double")
    def double(number: int) -> int:
        return double_it.s(number).cast

    @app.task(name="shop:double_it")
    async def double_it(number: int) -> int:
        return 2 * number

    async with app, app.worker():
        assert await double.map(range(7), chunk=3) == [0, 2, 4, 6, 8, 10, 12]


async def test_a_cancelled_graph_ends_whole(shop: Shop) -> None:
    held = shop.held.s(1)
    behind = [shop.give.s(held.cast) for _ in range(300)]
    result = shop.give.s([call.cast for call in behind]).apply_async()
    await wait_until_async(lambda: shop.runs == ["held"], description="the first one runs")
    broker = connect(shop.app.url, shop.app.name)
    graphs = graphs_of(broker)

    assert (await graphs.steer(result.id)).answer == "done"

    for id in (held.id, behind[0].id, behind[-1].id, result.id):
        with pytest.raises(JobCancelled):
            await shop.app.result(id)
    assert shop.runs == ["held"]
    await broker.close()


async def test_a_node_that_is_dropped_for_newer_jobs_fails_what_is_behind_it(broker_url: str, app_name: str) -> None:
    shop = Shop(f"{broker_url}{app_name}" if broker_url == "memory://" else broker_url, app_name)
    newer = App(app_name, url=shop.app.url, max_pending=1, when_full="drop_oldest")
    give = newer.task(name="shop:give")(shop.give.func)
    async with shop.app, newer:
        source = shop.give.s("dropped")
        # Elsewhere, so that it does not take the room that is made.
        result = shop.late.s(source.cast).apply_async()
        await result.sent()
        await give.apply_async("newer").sent()
        async with shop.app.worker():
            with pytest.raises(DependencyFailed, match="ended as CANCELLED") as caught:
                await result
    assert caught.value.job_id == source.id
    assert shop.runs == ["newer"]


async def test_what_is_taken_back_before_its_values_are_there_runs_elsewhere(broker_url: str, app_name: str) -> None:
    if broker_url == "memory://":
        pytest.skip("both workers are in this process")
    shop = Shop(broker_url, app_name)
    async with shop.app:
        held = shop.held.s(1)
        behind = [shop.give.s([held.cast, number]) for number in range(200)]
        result = shop.sync.s([call.cast for call in behind]).apply_async()
        async with shop.app.worker() as first:
            await wait_until_async(lambda: shop.runs == ["held"], description="the first one runs")
            shop.gate.set()
            await wait_until_async(lambda: len(shop.runs) > 1, description="some of the others have run")
            await first.stop()
        async with shop.app.worker():
            assert await result == [[1, number] for number in range(200)]
    assert len(shop.runs) == 201


async def test_a_burst_runs_a_graph_to_its_end(broker_url: str, app_name: str) -> None:
    url = f"{broker_url}{app_name}" if broker_url == "memory://" else broker_url
    shop = Shop(url, app_name)
    async with shop.app:
        source = shop.give.s(1)
        members = [shop.give.s(source.cast) for _ in range(2_000)]
        result = shop.sync.s([member.cast for member in members]).apply_async()
        fold = shop.fold.apply_async(list(range(64)))
        await asyncio.gather(result.sent(), fold.sent())
        async with shop.app.worker(burst=True) as worker:
            await worker.finished()
        assert [await result.status(), await fold.status()] == [Status.SUCCESS, Status.SUCCESS]
        assert await fold == sum(range(64))
