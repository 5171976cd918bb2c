"""A job that only waits for other jobs goes back as its worker drains, in whatever way it waits; no other one does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import aiotask
from aiotask import JobCancelled
from aiotask.worker import parents

from .children import Child, Stage
from .children import stage as stage

# ---- every way to wait


async def by_gather(child: Child) -> list[int]:
    return list(await asyncio.gather(*(child(n) for n in range(3))))


async def by_our_gather(child: Child) -> list[int]:
    return await aiotask.gather([child(n) for n in range(3)])


async def one_by_one(child: Child) -> list[int]:
    return [await result for result in [child(n) for n in range(3)]]


async def with_a_limit(child: Child) -> list[int]:
    return [await result.wait(timeout=600) for result in [child(n) for n in range(3)]]


async def in_a_timeout(child: Child) -> list[int]:
    async with asyncio.timeout(600):
        return await by_gather(child)


async def by_wait_for(child: Child) -> list[int]:
    return [(await asyncio.wait_for(child(n), 600)) for n in range(3)]


async def by_wait(child: Child) -> list[int]:
    tasks = [asyncio.ensure_future(child(n)) for n in range(3)]
    done, _ = await asyncio.wait(tasks)
    assert len(done) == 3
    return [task.result() for task in tasks]


async def by_as_completed(child: Child) -> list[int]:
    return sorted([await each for each in asyncio.as_completed([child(n) for n in range(3)])])


async def by_shield(child: Child) -> list[int]:
    return list(await asyncio.shield(asyncio.gather(*(child(n) for n in range(3)))))


async def by_task_group(child: Child) -> list[int]:
    values = []

    async def one(n: int) -> None:
        values.append(await child(n))

    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(one(n))
    return sorted(values)


async def by_tasks_of_its_own(child: Child) -> list[int]:
    async def one(n: int) -> int:
        return await child(n)

    tasks = [asyncio.create_task(one(n)) for n in range(3)]
    return [await task for task in tasks]


async def within_coroutines(child: Child) -> list[int]:
    async def deeper(depth: int) -> list[int]:
        return await (deeper(depth - 1) if depth else by_gather(child))

    return await deeper(5)


WAYS = [
    *(by_gather, by_our_gather, one_by_one, with_a_limit, in_a_timeout, by_wait, by_as_completed, by_shield),
    *(by_task_group, by_tasks_of_its_own, within_coroutines),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_job_that_waits_goes_back_at_once_and_takes_over_its_children(
    stage: Stage, way: Callable[[Child], Coroutine[Any, Any, list[int]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiotask.worker")
    parent = stage.parent(lambda: way(stage.child.apply_async))
    result = await stage.interrupted(parent, 3)
    assert "1 job is requeued: it only waits for other jobs" in caplog.text
    assert stage.ran == []

    assert await stage.value(result) == [0, 1, 4]

    assert sorted(stage.ran) == [0, 1, 2]
    assert stage.begun == [1, 1], "no retry was spent"


async def test_a_call_in_a_coroutine_of_wait_for_goes_back_too(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiotask.worker")
    result = await stage.interrupted(stage.parent(lambda: by_wait_for(stage.child.apply_async)), 1)
    assert "it only waits for other jobs" in caplog.text
    assert await stage.value(result) == [0, 1, 4]
    assert stage.ran == [0, 1, 2]


# ---- what is no mere waiting


async def beside_a_timer(child: Child) -> int:
    _, value = await asyncio.gather(asyncio.sleep(0.5), child(3))
    return value


async def beside_a_task_that_nobody_awaits(child: Child) -> int:
    resting = asyncio.create_task(asyncio.sleep(0.5))
    value = child(3)
    await resting
    return await value


async def behind_a_lock(child: Child) -> int:
    lock = asyncio.Lock()

    async def hold() -> None:
        async with lock:
            await asyncio.sleep(0.5)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    value = child(3)
    async with lock:
        await holding
    return await value


async def beside_a_thread(child: Child) -> int:
    release = threading.Event()
    asyncio.get_running_loop().call_later(0.5, release.set)
    value = child(3)
    await asyncio.wait(
        [asyncio.ensure_future(value), asyncio.get_running_loop().run_in_executor(None, release.wait)],
        return_when=asyncio.FIRST_COMPLETED,
    )
    return await value


@pytest.mark.parametrize(
    "way", [beside_a_timer, beside_a_task_that_nobody_awaits, behind_a_lock, beside_a_thread], ids=lambda w: w.__name__
)
async def test_what_else_a_job_has_under_way_comes_to_its_end_first(
    stage: Stage, way: Callable[[Child], Coroutine[Any, Any, int]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiotask.worker")
    seen: list[str] = []
    interrupted = asyncio.Event()

    async def run() -> int:
        handle = asyncio.get_running_loop().call_later(0.35, lambda: seen.append(caplog.text))
        try:
            return await way(stage.child.apply_async)
        except asyncio.CancelledError:
            interrupted.set()
            raise
        finally:
            handle.cancel()

    result = await stage.interrupted(stage.parent(run), 1)
    assert interrupted.is_set() and len(seen) == 1, "it was left alone until the other thing had ended"
    assert "only wait" not in seen[0]
    assert await stage.value(result) == 9
    assert stage.ran == [3]


async def test_who_waits_for_what_runs_here_gets_it_and_ends(stage: Stage) -> None:
    go_on, waiting = asyncio.Event(), asyncio.Event()

    @stage.app.task
    async def slow() -> int:
        waiting.set()
        await go_on.wait()
        return 7

    async def run() -> int:
        return await slow.apply_async()

    result = stage.parent(run).apply_async()
    async with stage.app.worker() as worker:
        await waiting.wait()
        stopping = asyncio.create_task(worker.stop())
        # Several looks of the drain.
        await asyncio.sleep(0.35)
        go_on.set()
        await stopping
    assert await result == 7
    assert stage.begun == [1]


async def test_an_outcome_that_may_be_on_its_way_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    # The child may have ended in this worker just before it drained; here it ends elsewhere a little later.
    monkeypatch.setattr(parents, "MAY_BE_ON_ITS_WAY", 60.0)
    result = stage.parent(lambda: by_gather(stage.child.apply_async)).apply_async()
    async with stage.app.worker(queues=["default"]) as worker:
        await stage.wait_for_children(3)
        worker.claim_no_more()
        # Several looks of the drain.
        await asyncio.sleep(0.35)
        async with stage.app.worker(queues=["children"]):
            assert await result.wait(timeout=30) == [0, 1, 4]
        await worker.finished()
    assert stage.begun == [1]


# ---- what the function sees


async def test_what_a_job_cleans_up_is_cleaned_up_before_it_goes_back(stage: Stage) -> None:
    steps: list[str] = []

    async def run() -> int:
        try:
            return await stage.child.apply_async(2)
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    result = await stage.interrupted(stage.parent(run), 1)
    assert steps == ["cancelled", "cleaned up"]
    assert await stage.value(result) == 4


async def test_an_error_that_comes_of_the_stop_is_none_of_the_job(stage: Stage) -> None:
    async def run() -> int:
        try:
            return await stage.child.apply_async(2)
        except asyncio.CancelledError:
            raise RuntimeError("the transaction was rolled back") from None

    result = await stage.interrupted(stage.parent(run), 1)
    assert await stage.value(result) == 4
    assert stage.begun == [1, 1]


async def test_a_value_that_is_returned_all_the_same_counts(stage: Stage) -> None:
    async def run() -> str:
        try:
            await stage.child.apply_async(2)
        except asyncio.CancelledError:
            return "half"
        return "whole"

    result = stage.parent(run).apply_async()
    async with stage.app.worker(queues=["default"]):
        await stage.wait_for_children(1)
    assert await result == "half"
    assert stage.begun == [1]


async def test_what_a_job_cancels_as_it_goes_back_is_there_for_its_next_run(stage: Stage) -> None:
    said: list[str] = []

    async def run() -> list[int]:
        results = [stage.child.apply_async(n) for n in range(3)]
        try:
            return list(await asyncio.gather(*results))
        except asyncio.CancelledError:
            said.extend([await result.cancel() for result in results])
            raise

    result = await stage.interrupted(stage.parent(run), 3)
    assert said == ["asked"] * 3
    assert await stage.value(result) == [0, 1, 4]
    assert sorted(stage.ran) == [0, 1, 2]


async def test_what_a_job_cancels_is_cancelled_if_it_ends_after_all(stage: Stage) -> None:
    sent: list[Any] = []

    async def run() -> str:
        sent.append(stage.child.apply_async(1))
        try:
            await sent[0]
        except asyncio.CancelledError:
            await sent[0].cancel()
        return "without it"

    result = stage.parent(run).apply_async()
    async with stage.app.worker(queues=["default"]):
        await stage.wait_for_children(1)
    assert await result == "without it"
    with pytest.raises(JobCancelled):
        await sent[0]


async def test_nothing_of_a_job_that_went_back_goes_on_here(stage: Stage) -> None:
    went_on: list[int] = []

    async def run() -> int:
        async def later() -> None:
            went_on.append(await stage.child.apply_async(5))

        kept = asyncio.create_task(later())
        value = await stage.child.apply_async(2)
        with contextlib.suppress(asyncio.CancelledError):
            await kept
        return value

    result = await stage.interrupted(stage.parent(run), 2)
    assert await stage.value(result) == 4
    assert went_on == [25], "in the second run alone"


async def test_a_parent_that_is_cancelled_is_not_run_again(stage: Stage) -> None:
    result = stage.parent(lambda: by_gather(stage.child.apply_async)).apply_async()
    async with stage.app.worker(queues=["default"]) as worker:
        await stage.wait_for_children(3)
        stopping = asyncio.create_task(worker.stop())
        assert await result.cancel() in ("asked", "cancelled")
        await stopping
    async with stage.app.worker(queues=["default"]):
        with pytest.raises(JobCancelled):
            await result
    assert stage.begun == [1]


async def test_a_job_that_runs_once_at_most_is_not_given_back(stage: Stage) -> None:
    result = stage.parent(lambda: by_gather(stage.child.apply_async), acks="early").apply_async()
    async with stage.app.worker(queues=["default"]) as worker:
        await stage.wait_for_children(3)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0.35)
        async with stage.app.worker(queues=["children"]):
            assert await result == [0, 1, 4]
        await stopping
    assert stage.begun == [1]
