"""Jobs that a job sends: a run that is repeated takes over what the earlier run sent, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import aiotask
from aiotask import App, Retry, current_job

from .children import Stage, squares
from .children import stage as stage
from .helpers import wait_until_async

# ---- which child is which


async def test_equal_calls_are_as_many_jobs_as_there_were(stage: Stage) -> None:
    async def run() -> list[int]:
        return list(await asyncio.gather(*(stage.child.apply_async(n) for n in (7, 7, 7, 8))))

    result = await stage.interrupted(stage.parent(run), 4)
    assert await stage.value(result) == [49, 49, 49, 64]
    assert Counter(stage.ran) == {7: 3, 8: 1}


async def test_children_are_known_whatever_sends_them_and_in_whatever_order(stage: Stage) -> None:
    def send(n: int) -> aiotask.AsyncResult[int]:
        return stage.child.apply_async(n)

    async def run() -> list[int]:
        order = range(4) if len(stage.begun) == 1 else reversed(range(4))
        results = {n: await asyncio.to_thread(send, n) for n in order}
        results[4] = stage.child.s(4).apply_async()
        results[5] = stage.app.s(stage.child.name, 5).apply_async()
        return [await results[n] for n in range(6)]

    result = await stage.interrupted(stage.parent(run), 6)
    assert await stage.value(result) == [n * n for n in range(6)]
    assert sorted(stage.ran) == list(range(6))


async def test_a_call_that_differs_is_another_job(stage: Stage) -> None:
    async def run() -> list[int]:
        second = len(stage.begun) > 1
        calls = [stage.child.apply_async(n) for n in ((0, 1, 2) if not second else (0, 2, 3))]
        calls.append(stage.child.options(priority=2 if second else 1).apply_async(9))
        return list(await asyncio.gather(*calls))

    result = await stage.interrupted(stage.parent(run), 4)
    assert await stage.value(result) == [0, 4, 9, 81]
    await stage.wait_for_children(0)
    assert Counter(stage.ran) == {0: 1, 1: 1, 2: 1, 3: 1, 9: 2}


async def test_a_finished_child_gives_its_value_and_a_failed_one_its_error(stage: Stage) -> None:
    @stage.app.task(queue="children")
    async def fail() -> None:
        stage.ran.append("fail")
        raise ValueError("no")

    async def run() -> str:
        failed, one = fail.apply_async(), stage.child.apply_async(1)
        try:
            await failed
        except ValueError:
            stage.ran.append("caught")
        return f"{await one} {await stage.child.options(queue='later').apply_async(2)}"

    result = stage.parent(run).apply_async()
    async with stage.app.worker(queues=["default", "children"]):
        await wait_until_async(lambda: "caught" in stage.ran and 1 in stage.ran, description="two children have ended")
    async with stage.app.worker(queues=["default", "children", "later"]):
        assert await result == "1 4"
    assert Counter(stage.ran) == {"fail": 1, 1: 1, "caught": 2, 2: 1}


async def test_a_retry_sends_anew(stage: Stage) -> None:
    async def run() -> int:
        value = await stage.child.apply_async(6)
        if current_job().attempt == 1:
            raise Retry(delay=0)
        return value

    result = stage.parent(run, retries=1).apply_async()
    assert await stage.value(result) == 36
    assert stage.ran == [6, 6] and stage.begun == [1, 2]


async def test_a_job_that_is_sent_again_under_its_id_sends_anew(stage: Stage) -> None:
    parent = stage.parent(lambda: squares(stage.child.apply_async), id="nightly", result_ttl=0.01)
    async with stage.app.worker(queues=["default", "children"]):
        assert await parent.apply_async() == [0, 1, 4]

        async def forgotten() -> bool:
            async with stage.app.inspector() as inspector:
                return await inspector.job("nightly") is None

        await wait_until_async(forgotten, description="the outcome has expired")
        assert await parent.apply_async() == [0, 1, 4]
    assert Counter(stage.ran) == {0: 2, 1: 2, 2: 2}


async def test_a_dead_letter_that_is_replayed_sends_anew(stage: Stage, another_broker: Callable[[], Any]) -> None:
    """Also where the run of the replay is repeated: then it takes over what that one sent."""
    passes: list[int] = []

    async def run() -> int:
        value = await stage.child.apply_async(5)
        if not passes:
            raise ValueError("not yet")
        return value

    parent = stage.parent(run, retries=1, backoff=lambda failures: 0.0)
    result = parent.apply_async()
    with pytest.raises(ValueError, match="not yet"):
        await stage.value(result)
    assert stage.ran == [5, 5]
    passes.append(1)
    assert await another_broker().replay([result.id]) == ["replayed"]
    async with stage.app.worker(queues=["default"]):
        await stage.wait_for_children(1)
    assert await stage.value(stage.app.result(result.id)) == 25
    assert stage.ran == [5, 5, 5] and stage.begun == [1, 2, 1, 1]


async def test_what_nobody_keeps_is_sent_again(stage: Stage) -> None:
    async def run() -> int:
        await stage.child.options().apply_async(1)
        return await stage.child.options(queue="later").apply_async(2)

    @stage.app.task(queue="children", name="shop:forgetful", ignore_result=True)
    async def forgetful() -> None:
        stage.ran.append("forgetful")

    async def both() -> int:
        await forgetful.apply_async().sent()
        return await run()

    result = stage.parent(both).apply_async()
    async with stage.app.worker(queues=["default", "children"]):
        await wait_until_async(lambda: {1, "forgetful"} <= set(stage.ran), description="what could run has run")
    async with stage.app.worker(queues=["default", "children", "later"]):
        assert await result == 4
        await wait_until_async(lambda: stage.ran.count("forgetful") == 2, description="it was sent again")
    assert Counter(stage.ran) == {1: 1, "forgetful": 2, 2: 1}


async def test_a_child_of_another_app_is_taken_over_too(stage: Stage, broker_url: str, app_name: str) -> None:
    other = App(f"{app_name}-other", url=broker_url)
    ran: list[int] = []

    @other.task
    async def far(n: int) -> int:
        ran.append(n)
        return n + 100

    async def run() -> list[int]:
        return [await far.apply_async(1), await stage.child.apply_async(1)]

    async with other:
        result = stage.parent(run).apply_async()
        async with stage.app.worker(queues=["default"]), other.worker():
            await stage.wait_for_children(1)
        assert await stage.value(result) == [101, 1]
    assert ran == [1] and stage.ran == [1]


async def test_a_nested_parent_and_its_parent_both_go_back(stage: Stage) -> None:
    begun: list[int] = []

    @stage.app.task(name="shop:inner")
    async def inner(n: int) -> int:
        begun.append(n)
        return sum(await squares(lambda each: stage.child.apply_async(10 * n + each)))

    async def run() -> int:
        return sum(await asyncio.gather(*(inner.apply_async(n) for n in range(2))))

    result = await stage.interrupted(stage.parent(run), 6)
    assert await stage.value(result) == sum(n * n for n in (0, 1, 2, 10, 11, 12))
    assert sorted(stage.ran) == [0, 1, 2, 10, 11, 12]
    assert sorted(begun) == [0, 0, 1, 1] and stage.begun == [1, 1]


async def test_what_is_sent_outside_a_job_has_an_id_of_its_own(stage: Stage) -> None:
    first, second = stage.child.apply_async(1), stage.child.apply_async(1)
    assert first.id != second.id and not first.id.startswith("00child")
    kept: list[asyncio.Task[Any]] = []
    go_on = asyncio.Event()

    async def linger() -> str:
        await go_on.wait()
        return stage.child.apply_async(2).id

    async def run() -> str:
        kept.append(asyncio.create_task(linger()))
        return stage.child.apply_async(2).id

    async with stage.app.worker(queues=["default", "children"]):
        inside = await stage.parent(run).apply_async()
        go_on.set()
        assert inside.startswith("00child-") and len(inside) == 30
        assert not (await kept[0]).startswith("00child"), "its job has ended"
