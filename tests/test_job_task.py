"""Every async job has an asyncio task of its own: what hangs on the task belongs to that job alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

import pytest

from aiotask import App, AsyncTask

from .helpers import wait_until_async

app = App("jobtask", url="memory://jobtask")

by_task: WeakKeyDictionary[asyncio.Task[object], list[int]] = WeakKeyDictionary()
by_id: dict[int, list[int]] = {}
kept: list[asyncio.Task[object]] = []
ended: list[int] = []
released: list[bool] = []


def me() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


@app.task
async def remembers(n: int) -> list[int]:
    found = by_task.setdefault(me(), [])
    found.append(n)
    return list(found)


@app.task
async def remembers_by_id(n: int) -> list[int]:
    kept.append(me())  # so that the number of a task that is gone is not given to another one
    found = by_id.setdefault(id(me()), [])
    found.append(n)
    return list(found)


@app.task
async def renames_its_task(n: int) -> str:
    before = me().get_name()
    me().set_name(f"job {n}")
    return before


@app.task
async def counts_cancels(n: int) -> int:
    before = me().cancelling()
    me().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    me().uncancel()
    me().cancel()
    me().uncancel()
    return before


@app.task
async def wants_to_know_of_its_end(n: int) -> None:
    me().add_done_callback(lambda task: ended.append(n))


@app.task
async def asks_again_after_it_has_waited(n: int) -> bool:
    first = me()
    await asyncio.sleep(0)
    second = me()
    async with asyncio.timeout(10):
        await asyncio.Event().wait() if n < 0 else await asyncio.sleep(0.001)
    return first is second is me()


@app.task
async def asks_only_after_it_has_waited(n: int) -> bool:
    await asyncio.sleep(0)
    return me() not in kept and not kept.append(me())


@app.task
async def cancels_before_it_waits_for_another_task(n: int) -> bool:
    async def sleeps() -> None:
        await asyncio.sleep(100)

    other = asyncio.ensure_future(sleeps())
    me().cancel()
    try:
        await other
    except asyncio.CancelledError:
        me().uncancel()
    return other.cancelled()


@app.task
async def waits_to_be_released() -> None:
    while not released:
        await asyncio.sleep(0.01)


@pytest.fixture
async def worker() -> AsyncIterator[None]:
    async with app.worker(max_in_flight=10), app:
        yield


async def all_of(task: AsyncTask[[int], object]) -> list[object]:
    return list(await asyncio.gather(*(task.apply_async(n) for n in range(30))))


@pytest.mark.parametrize("task", [remembers, remembers_by_id])
async def test_what_a_job_keeps_by_its_task_no_other_job_finds(worker: None, task: AsyncTask[[int], object]) -> None:
    assert await all_of(task) == [[n] for n in range(30)]


async def test_the_name_of_a_task_is_not_that_of_the_next_job(worker: None) -> None:
    names = await all_of(renames_its_task)

    assert not any(str(name).startswith("job ") for name in names)
    assert len(set(names)) == 30


async def test_cancels_of_its_own_task_are_counted_for_that_job_alone(worker: None) -> None:
    assert await all_of(counts_cancels) == [0] * 30


async def test_a_done_callback_is_called_when_its_job_ends(worker: None) -> None:
    ended.clear()
    released.clear()
    sent = [wants_to_know_of_its_end.apply_async(7), waits_to_be_released.apply_async()]

    try:
        await wait_until_async(lambda: ended == [7], description="the callback was called")
    finally:
        released.append(True)
        await asyncio.gather(*sent)


@pytest.mark.parametrize("task", [asks_again_after_it_has_waited, asks_only_after_it_has_waited])
async def test_a_job_that_waits_keeps_its_task(worker: None, task: AsyncTask[[int], object]) -> None:
    assert await all_of(task) == [True] * 30


async def test_a_job_that_cancels_itself_cancels_what_it_waits_for(worker: None) -> None:
    assert await all_of(cancels_before_it_waits_for_another_task) == [True] * 30


async def test_outside_a_job_the_current_task_is_the_one_of_the_caller(worker: None) -> None:
    before = asyncio.current_task()
    await all_of(remembers)

    assert asyncio.current_task() is before
    assert await asyncio.create_task(asyncio.sleep(0, "else")) == "else"
