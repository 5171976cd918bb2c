"""Streams through a worker: items come in order, once, as fast as the reader reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ConfigError, JobCancelled, ResultExpired, ResultTimeout, Status, Stream, current_job
from aiotask.broker import Notice
from aiotask.tasks.task import task_of
from aiotask.wire.items import seal_item

from ..helpers import wait_until_async
from .shop import make_app

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize("name", ["numbers", "numbers_sync"])
async def test_items_come_in_their_order(task: Any, name: str) -> None:
    assert [number async for number in task(name).apply_async(1_000)] == list(range(1, 1_001))


@pytest.mark.parametrize("name", ["numbers", "numbers_sync"])
@pytest.mark.parametrize("count", [0, 1, 1_500])
async def test_an_await_gives_the_list_again_and_again(task: Any, name: str, count: int) -> None:
    stream = task(name).apply_async(count)
    assert isinstance(stream, Stream)
    assert await stream == list(range(1, count + 1))
    assert await stream == list(range(1, count + 1))
    assert await stream.status() is Status.SUCCESS


async def test_items_come_while_the_job_runs(task: Any) -> None:
    stream = task("numbers").apply_async(3, pause=0.01)
    async for number in stream:
        if number == 1:
            assert await stream.status() is Status.RUNNING


async def test_another_handle_goes_on_after_an_item(task: Any, app: App) -> None:
    stream = task("numbers").apply_async(500)
    async for number, item in stream.items():
        assert number == item
        if number == 100:
            break

    rest = [item async for _, item in app.stream(stream.id).items(after=100)]
    assert rest == list(range(101, 501))
    assert [item async for _, item in app.stream(stream.id).items(after=495)] == [496, 497, 498, 499, 500]
    assert [item async for _, item in app.stream(stream.id).items(after=500)] == []


@pytest.mark.trap("position that is none")
@pytest.mark.parametrize("position", [-1, "7", 1.5, None, True])
async def test_a_position_that_is_no_number_is_refused(app: App, position: Any) -> None:
    with pytest.raises(ConfigError, match="not the number of an item"):
        app.stream("any").items(after=position)


async def test_items_that_were_trimmed_are_missed_and_not_skipped(task: Any, app: App) -> None:
    stream = task("numbers").apply_async(3_000)
    assert len(await stream) == 3_000

    with pytest.raises(ResultExpired, match="no longer kept"):
        await app.stream(stream.id)


async def test_an_error_comes_after_the_items_before_it(task: Any) -> None:
    seen = []
    with pytest.raises(ValueError, match="no more"):
        async for item in task("failing").apply_async(5):
            seen.append(item)
    assert seen == [f"item {number}" for number in range(5)]


@pytest.mark.trap("generator in its yield")
@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_a_reader_that_leaves_ends_the_job(task: Any, name: str, tmp_path: Path) -> None:
    stream = task(name).apply_async(str(tmp_path))
    async for number in stream:
        if number == 10:
            break

    await wait_until_async((tmp_path / "closed").exists, description="the generator's finally runs")
    with pytest.raises(JobCancelled):
        await stream


async def test_aclose_ends_the_job(task: Any, tmp_path: Path) -> None:
    stream = task("endless").apply_async(str(tmp_path))
    await anext(aiter(stream.items()))
    await stream.aclose()
    await wait_until_async((tmp_path / "closed").exists, description="the generator's finally runs")


@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_a_run_waits_for_its_reader(task: Any, name: str, tmp_path: Path) -> None:
    stream = task(name).apply_async(str(tmp_path))
    made = tmp_path / "made"
    items = stream.items()
    assert await anext(items) == (1, 1)
    await wait_until_async(lambda: made.exists() and int(made.read_text() or 0) >= 255, description="it is ahead")

    # The jobs behind it run meanwhile: an async one has left its seat.
    assert await task("quick").apply_async() == "quick"
    assert 255 <= int(made.read_text()) <= 256 + 64

    for number in range(2, 400):
        assert await anext(items) == (number, number)
    await items.aclose()
    await stream.aclose()


async def test_results_that_are_ignored_hold_nothing_up(task: Any, tmp_path: Path) -> None:
    stream = task("ignored").apply_async(str(tmp_path))
    await wait_until_async((tmp_path / "ended").exists, description="it has ended without a reader")
    with pytest.raises(ResultExpired, match="ignore_result"):
        await stream


async def test_a_job_that_is_no_stream_is_not_read_as_one(task: Any, app: App) -> None:
    result = task("quick").apply_async()
    assert await result == "quick"
    with pytest.raises(ConfigError, match=r"does not stream: its task is no generator.*Await app\.result"):
        await app.stream(result.id)


@pytest.mark.parametrize(("value", "error"), [(True, ConfigError), (3, ResultExpired)])
async def test_a_value_that_looks_like_a_number_of_items_is_none(
    task: Any, app: App, value: int, error: type[Exception]
) -> None:
    result = task("returned").apply_async(value)
    assert await result == value
    with pytest.raises(error, match=r"does not stream: its task is no generator.*Await app\.result"):
        await app.stream(result.id)


def test_a_generator_is_no_node_of_a_graph(task: Any) -> None:
    for refused in (lambda: task("numbers").s(3), lambda: task("numbers").map([3])):
        with pytest.raises(TypeError, match="is a generator"):
            refused()
    with pytest.raises(TypeError, match="is a generator"):
        task("numbers").apply_async(task("steps").s(3).cast)


async def test_a_call_in_this_process_gives_the_generator(task: Any) -> None:
    assert [number async for number in task("numbers")(3)] == [1, 2, 3]
    assert list(task("numbers_sync")(3)) == [1, 2, 3]
    assert current_job().id == ""


async def test_a_thread_without_a_loop_gets_the_list(task: Any) -> None:
    assert await asyncio.to_thread(task("numbers").apply_async(3).get, 30) == [1, 2, 3]


async def test_a_wait_has_a_time_limit(task: Any, tmp_path: Path) -> None:
    stream = task("endless").apply_async(str(tmp_path))
    with pytest.raises(ResultTimeout, match="has not ended"):
        await stream.wait(0.1)
    await stream.aclose()


async def test_a_reader_follows_the_job_that_takes_the_place_of_its_own(task: Any, app: App) -> None:
    other = make_app(app.url, app.name)
    definition = other.registry.get("keyed")
    assert definition is not None
    first = task("keyed").options(delay=3600).apply_async(0, 50)
    items, told = asyncio.create_task(collect(first)), asyncio.create_task(collect(first.progress()))
    await first.sent()
    # Of another client: the reader is not told which job its own is by the answer to a call.
    second = task_of(definition, other).options(delay=0.05).apply_async(100, 50)

    assert await items == list(range(100, 150))
    assert (await told)[-1].current == 149
    assert await second == list(range(100, 150))
    assert first.id == second.id
    await other.client.close()


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


@pytest.mark.trap("late item")
async def test_an_item_that_is_told_is_no_proof_of_those_before_it(task: Any, app: App) -> None:
    stream = task("numbers").apply_async(50, pause=0.001)
    items = stream.items()
    assert await anext(items) == (1, 1)
    # As one that is told to a subscription which has missed the others.
    told = seal_item(app.client._items_sealer, stream.id, 40, b"")
    app.client.session().mailbox.hearers.tell(Notice(stream.id, item=told))

    assert [number async for _, number in items] == list(range(2, 51))


@pytest.mark.parametrize("name", ["large", "large_sync"])
async def test_large_items_do_not_wait_for_the_next_look_at_the_broker(
    task: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run waits for its reader with one such item; without being told it would go on at the next look."""
    monkeypatch.setattr("aiotask.client.streams.LOOK_EVERY", 3600.0)
    async with asyncio.timeout(30):
        sizes = [len(item) async for item in task(name).apply_async(8, 700_000)]
    assert sizes == [700_000] * 8
