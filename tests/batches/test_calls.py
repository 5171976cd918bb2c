"""Batch tasks in a worker inside this process, on each broker: what makes a call, and what becomes of each item."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiotask import (
    ConfigError,
    Depends,
    JobContext,
    JobError,
    JobExpired,
    JobTimeout,
    Middleware,
    Retry,
    SerializationError,
    Status,
    chain,
    current_job,
)

from ..helpers import wait_until_async
from .conftest import TIMEOUT, Lists, Make


async def test_a_thousand_calls_come_in_lists_of_64_in_their_order(app: Lists) -> None:
    # Long enough for a claim on a busy machine: what counts is that full lists do not wait.
    task = app.task(batch=64, batch_wait=30)
    results = [task.apply_async(n) for n in range(1024)]
    await app.app.flush()

    async with app.worker():
        assert [await result.wait(TIMEOUT) for result in results] == list(range(1024))

    assert [len(items) for items in app.lists] == [64] * 16
    assert sorted(item for items in app.lists for item in items) == list(range(1024))


async def test_what_is_there_is_called_when_the_wait_of_the_first_is_over(app: Lists) -> None:
    task = app.task(batch=64, batch_wait=0.2)
    async with app.worker():
        assert await task.apply_async("alone").wait(TIMEOUT) == "alone"
        assert app.lists == [["alone"]]


async def test_without_a_wait_a_call_takes_what_one_claim_has_brought(app: Lists) -> None:
    task = app.task(batch=64, batch_wait=0)
    results = [task.apply_async(n) for n in range(3)]
    await app.app.flush()

    async with app.worker():
        assert [await result.wait(TIMEOUT) for result in results] == [0, 1, 2]


async def test_each_item_has_its_own_end(app: Lists) -> None:
    def judge(items: list[Any]) -> list[Any]:
        return [ValueError(item) if item == "bad" else Retry(delay=0) if _first(item) else item for item in items]

    def _first(item: str) -> bool:
        job = next(each for each, given in zip(current_job().items, app.lists[-1], strict=True) if given == item)
        return item == "again" and job.attempt == 1

    task = app.task(judge, batch=3, batch_wait=0.3, retries=1, retry_on=(OSError,))
    good, bad, again = (task.apply_async(item) for item in ("good", "bad", "again"))
    async with app.worker():
        assert await good.wait(TIMEOUT) == "good"
        with pytest.raises(ValueError, match="bad"):
            await bad.wait(TIMEOUT)
        assert await again.wait(TIMEOUT) == "again"

    assert [sorted(items) for items in app.lists] == [["again", "bad", "good"], ["again"]]
    assert await bad.status() is Status.FAILED


async def test_an_error_of_the_call_is_the_error_of_each_item_and_each_has_its_own_retries(app: Lists) -> None:
    def judge(items: list[Any]) -> list[Any]:
        if len(app.lists) == 1:
            raise OSError("the model is not there")
        return items

    task = app.task(judge, batch=2, batch_wait=0.3, backoff=lambda failures: 0)
    stubborn, plain = task.options(retries=1).apply_async("stubborn"), task.apply_async("plain")
    async with app.worker():
        assert await stubborn.wait(TIMEOUT) == "stubborn"
        with pytest.raises(OSError, match="the model is not there"):
            await plain.wait(TIMEOUT)

    assert [sorted(items) for items in app.lists] == [["plain", "stubborn"], ["stubborn"]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (lambda items: items[1:], "a batch of 2 items and returned a list of 1"),
        (lambda items: [*items, 1], "a batch of 2 items and returned a list of 3"),
        (lambda items: None, "a batch of 2 items and returned NoneType"),
        (lambda items: "ab", "a batch of 2 items and returned str"),
        (lambda items: {1: 2, 3: 4}, "a batch of 2 items and returned dict"),
    ],
    ids=["short", "long", "none", "text", "dict"],
)
async def test_a_list_that_does_not_fit_fails_every_item_and_is_not_tried_again(
    app: Lists, values: Callable[[list[Any]], Any], says: str
) -> None:
    task = app.task(values, batch=2, batch_wait=30, retries=5)
    results = [task.apply_async(n) for n in range(2)]
    async with app.worker():
        for result in results:
            with pytest.raises(SerializationError, match=says):
                await result.wait(TIMEOUT)
    assert len(app.lists) == 1


async def test_a_value_that_cannot_be_sent_and_a_call_as_a_value_are_errors_of_their_items(app: Lists) -> None:
    def judge(items: list[Any]) -> list[Any]:
        return [threading.Lock() if item == "lock" else task.s(1) if item == "call" else item for item in items]

    task = app.task(judge, batch=3, batch_wait=30)
    lock, call, fine = (task.apply_async(item) for item in ("lock", "call", "fine"))
    async with app.worker():
        assert await fine.wait(TIMEOUT) == "fine"
        with pytest.raises(SerializationError, match="lock"):
            await lock.wait(TIMEOUT)
        with pytest.raises(SerializationError, match="an item of a batch cannot wait for other jobs"):
            await call.wait(TIMEOUT)


async def test_an_argument_that_cannot_be_read_is_not_in_the_list(app: Lists) -> None:
    task = app.task(batch=3, batch_wait=30)
    unreadable, one, other = (task.apply_async(item) for item in (_Unreadable(), "one", "other"))
    async with app.worker():
        assert [await one.wait(TIMEOUT), await other.wait(TIMEOUT)] == ["one", "other"]
        with pytest.raises(SerializationError, match="not here"):
            await unreadable.wait(TIMEOUT)

    assert [sorted(items) for items in app.lists] == [["one", "other"]]
    assert [len(context.items) for context in app.contexts] == [2]


class _Unreadable:
    def __reduce__(self) -> Any:
        return _read, ()


def _read() -> None:
    raise RuntimeError("not here")


async def test_a_job_sees_all_jobs_of_its_batch(app: Lists) -> None:
    task = app.task(batch=3, batch_wait=30)
    results = [task.apply_async(n) for n in range(3)]
    async with app.worker():
        await asyncio.gather(*results)

    (context,) = app.contexts
    assert [job.id for job in context.items] == [result.id for result in results]
    assert context.id == results[0].id
    assert [job.attempt for job in context.items] == [1, 1, 1]


async def test_a_batch_has_one_time_limit(app: Lists) -> None:
    task = app.task(batch=2, batch_wait=30, timeout=0.2)
    app.gate.clear()
    results = [task.apply_async(n) for n in range(2)]
    async with app.worker():
        timer = asyncio.get_running_loop().call_later(0.5, app.gate.set)
        for result in results:
            with pytest.raises(JobTimeout, match=r"The batch of 2 jobs \(many\) .* longer than its limit of 0.2 s"):
                await result.wait(TIMEOUT)
        timer.cancel()


async def test_jobs_with_other_time_limits_are_other_batches(app: Lists) -> None:
    task = app.task(batch=2, batch_wait=30)
    results = [task.options(timeout=limit).apply_async(limit) for limit in (20, 30, 20, 30)]
    async with app.worker():
        await asyncio.gather(*results)

    assert sorted(app.lists) == [[20, 20], [30, 30]]


async def test_what_has_expired_is_not_in_the_list(app: Lists) -> None:
    task = app.task(batch=64, batch_wait=0.6)
    short, long = task.options(expires=0.2).apply_async("short"), task.apply_async("long")
    async with app.worker():
        assert await long.wait(TIMEOUT) == "long"
        with pytest.raises(JobExpired):
            await short.wait(TIMEOUT)

    assert app.lists == [["long"]]


# ---- what stands around a call


async def test_middleware_and_providers_are_opened_once_for_a_call_and_hooks_run_for_each_item(make: Make) -> None:
    told: list[tuple[str, Any]] = []

    class Tells(Middleware):
        @contextlib.contextmanager
        def execute(self, job: JobContext, /) -> Any:
            told.append(("execute", len(job.items)))
            yield

        def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> None:
            told.append(("retry", job.id))

        def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
            told.append((status, job.id))

    async def resource() -> AsyncIterator[str]:
        told.append(("open", None))
        yield "resource"
        told.append(("close", None))

    app = make(middleware=[Tells()])

    @app.task(name="given", batch=3, batch_wait=0.2, retries=1)
    async def given(items: list[str], value: str = Depends(resource)) -> list[str | Exception]:
        assert value == "resource"
        first = {job.id for job in current_job().items if job.attempt == 1}
        ids = [job.id for job in current_job().items]
        return [
            Retry(delay=0) if item == "again" and id in first else item for item, id in zip(items, ids, strict=True)
        ]

    one, again, bad = (given.apply_async(item) for item in ("one", "again", "bad"))
    async with app.worker():
        assert await asyncio.gather(one, again, bad) == ["one", "again", "bad"]
        await wait_until_async(lambda: len(told) == 10, description="all hooks have run")

    assert told[:3] == [("execute", 3), ("open", None), ("close", None)]
    assert [each for each in told if each[0] == "execute"] == [("execute", 3), ("execute", 1)]
    assert sorted(each for each in told if each[0] in ("retry", "SUCCESS")) == sorted(
        [("retry", again.id), *(("SUCCESS", result.id) for result in (one, again, bad))]
    )


async def test_a_batch_task_is_a_step_of_a_graph(app: Lists) -> None:
    task = app.task(batch=2, batch_wait=0.3)
    async with app.worker():
        assert await chain(task.s("first"), task).apply_async().wait(TIMEOUT) == "first"
        assert await task.map([1, 2, 3, 4]) == [1, 2, 3, 4]


async def test_json_checks_each_item_and_each_value(make: Make) -> None:
    app = make(serializer="json")

    @app.task(name="squares", batch=3, batch_wait=0.3)
    async def squares(numbers: list[int]) -> list[int | Exception]:
        return [ValueError("negative") if n < 0 else n * n if n else "none" for n in numbers]

    with pytest.raises(SerializationError, match="numbers"):
        squares.apply_async("three")
    good, negative, wrong = (squares.apply_async(n) for n in (3, -1, 0))
    async with app.worker():
        assert await good.wait(TIMEOUT) == 9
        with pytest.raises(ValueError, match="negative"):
            await negative.wait(TIMEOUT)
        with pytest.raises(SerializationError):
            await wrong.wait(TIMEOUT)


async def test_an_async_batch_leaves_its_seat_while_it_waits_for_a_job(make: Make) -> None:
    app = make()

    @app.task(name="double")
    async def double(n: int) -> int:
        return 2 * n

    @app.task(name="doubles", batch=2, batch_wait=30)
    async def doubles(numbers: list[int]) -> list[int]:
        return [await double.apply_async(n) for n in numbers]

    async with app.worker(max_in_flight=1):
        results = [doubles.apply_async(n) for n in (1, 2)]
        assert [await result.wait(TIMEOUT) for result in results] == [2, 4]


async def test_a_task_that_became_a_batch_task_runs_the_chunks_that_were_sent_before(make: Make) -> None:
    before = make()
    result = before.register_task(_echo, name="many").map([1, 2, 3], chunk=2)
    await before.flush()
    now = Lists(make(), is_async=False)
    now.task(batch=2, batch_wait=30)

    async with now.worker(), asyncio.timeout(TIMEOUT):
        assert await result == [1, 2, 3]


def _echo(item: int) -> int:
    return item


async def test_an_error_that_ends_a_batch_names_no_other_job_as_its_cause(app: Lists) -> None:
    task = app.task(lambda items: [JobError("mine"), *items[1:]], batch=2, batch_wait=30)
    first, second = task.apply_async(1), task.apply_async(2)
    async with app.worker():
        with pytest.raises(JobError, match="mine"):
            await first.wait(TIMEOUT)
        assert await second.wait(TIMEOUT) == 2


async def test_an_item_has_no_progress_of_its_own(app: Lists) -> None:
    def report(items: list[Any]) -> list[Any]:
        current_job().items[0].progress(1)
        return items

    async with app.worker():
        with pytest.raises(ConfigError, match=r'Task "many": neither a batch nor an item of it has a progress report'):
            await app.task(report, batch=1).apply_async("one").wait(TIMEOUT)
