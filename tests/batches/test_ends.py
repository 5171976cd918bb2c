"""Batch tasks in a worker inside this process, on each broker: cancels, and jobs that go back unrun."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from aiotask import JobCancelled, Status

from ..helpers import wait_until_async
from .conftest import TIMEOUT, Lists, Make

# ---- cancel


async def test_a_cancel_takes_a_gathered_job_out(app: Lists) -> None:
    task = app.task(batch=3, batch_wait=30)
    kept, gone = task.apply_async("kept"), task.apply_async("gone")
    async with app.worker() as worker:
        await wait_until_async(lambda: _is_running(gone), description="the job is gathered")
        await gone.cancel()
        with pytest.raises(JobCancelled):
            await gone.wait(TIMEOUT)
        others = [task.apply_async(item) for item in ("second", "third")]
        assert [await each.wait(TIMEOUT) for each in (kept, *others)] == ["kept", "second", "third"]
        assert worker.runs == 3

    assert app.lists == [["kept", "second", "third"]]


async def test_a_cancel_of_an_item_that_runs_ends_it_at_once_and_the_others_with_their_call(app: Lists) -> None:
    task = app.task(batch=2, batch_wait=30)
    app.gate.clear()
    kept, gone = task.apply_async("kept"), task.apply_async("gone")
    async with app.worker():
        await wait_until_async(lambda: bool(app.lists), description="the call has begun")
        await gone.cancel()
        with pytest.raises(JobCancelled):
            await gone.wait(TIMEOUT)
        assert not app.gate.is_set() and await kept.status() is Status.RUNNING
        app.gate.set()
        assert await kept.wait(TIMEOUT) == "kept"

    assert await gone.status() is Status.CANCELLED


async def test_a_cancel_of_every_item_ends_them_though_the_call_goes_on(app: Lists) -> None:
    task = app.task(batch=2, batch_wait=30)
    app.gate.clear()
    results = [task.apply_async(n) for n in range(2)]
    async with app.worker() as worker:
        await wait_until_async(lambda: bool(app.lists), description="the call has begun")
        for result in results:
            await result.cancel()
        for result in results:
            with pytest.raises(JobCancelled):
                await result.wait(TIMEOUT)
        # That of an async task has been cancelled; nothing inside this process can end a thread.
        assert not app.gate.is_set()
        app.gate.set()
        assert await asyncio.gather(*(task.apply_async(n) for n in range(2))) == [0, 1]
        assert worker.runs == 4

    assert {await result.status() for result in results} == {Status.CANCELLED}


async def _is_running(result: Any) -> bool:
    return await result.status() is Status.RUNNING


# ---- the way back


async def test_gathered_jobs_go_back_unrun_when_the_worker_stops(app: Lists) -> None:
    task = app.task(batch=64, batch_wait=600)
    results = [task.apply_async(n) for n in range(30)]
    async with app.worker() as worker:
        await wait_until_async(lambda: _is_running(results[-1]), description="all are gathered")
        await worker.stop()
    assert worker.runs == 0 and app.lists == []
    assert {await result.status() for result in results} == {Status.PENDING}

    app.app.register_task(app.task(batch=30, batch_wait=600).func, name="other", batch=1)
    async with app.worker():
        assert await asyncio.gather(*results) == list(range(30))
    assert [job.attempt for context in app.contexts for job in context.items] == [1] * 30


@pytest.mark.parametrize("what", [{"queue": "default"}, {"task": "many"}], ids=["queue", "task"])
async def test_gathered_jobs_go_back_unrun_when_they_are_paused(app: Lists, what: dict[str, str]) -> None:
    task = app.task(batch=3, batch_wait=600)
    first = [task.apply_async(n) for n in range(2)]
    async with app.worker() as worker:
        await wait_until_async(lambda: _is_running(first[-1]), description="both are gathered")
        await app.app.pause(**what)
        await wait_until_async(lambda: _has_gone_back(first), description="both have gone back")
        assert worker.runs == 0 and app.lists == []
        await app.app.resume(**what)
        results = [*first, task.apply_async(2)]
        async with asyncio.timeout(TIMEOUT):
            assert await asyncio.gather(*results) == [0, 1, 2]


async def _has_gone_back(results: list[Any]) -> bool:
    return {await result.status() for result in results} <= {Status.PENDING, Status.PARKED}


async def test_gathered_jobs_do_not_go_back_because_another_job_is_long(make: Make) -> None:
    app = Lists(make(), is_async=False)
    task = app.task(batch=2, batch_wait=30)
    begun, end = threading.Event(), threading.Event()

    @app.app.task(name="long")
    def long() -> None:
        begun.set()
        end.wait(TIMEOUT)

    first = task.apply_async("first")
    async with app.worker(concurrency=1):
        await wait_until_async(lambda: _is_running(first), description="the job is gathered")
        holds = long.apply_async()
        await wait_until_async(begun.is_set, description="the long job runs")
        # Several ticks of a worker whose only thread is taken.
        await asyncio.sleep(0.5)
        assert await first.status() is Status.RUNNING
        end.set()
        await holds
        second = task.apply_async("second")
        assert [await first.wait(TIMEOUT), await second.wait(TIMEOUT)] == ["first", "second"]

    assert app.lists == [["first", "second"]]
