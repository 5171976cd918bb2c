"""Jobs that a job sends: a run that is repeated takes over what the earlier run sent, whatever way it waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import aiotask
from aiotask import App, JobCancelled, Retry, Status, current_job

from .helpers import wait_until_async

Child = Callable[[int], "aiotask.AsyncResult[int]"]


class Stage:
    """An app whose children wait in a queue of their own until a worker of that queue is there."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.ran: list[Any] = []
        self.begun: list[Any] = []

        @app.task(queue="children")
        async def child(n: int) -> int:
            self.ran.append(n)
            return n * n

        self.child = child

    def parent(self, function: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        """A task of this app that notes each of its runs."""

        async def parent() -> Any:
            self.begun.append(current_job().attempt)
            return await function()

        return self.app.task(name="shop:parent", **options)(parent)

    async def interrupted(self, parent: Any, children: int, **options: Any) -> aiotask.AsyncResult[Any]:
        """A job that was given back once it waited for so many children, none of which has run."""
        result: aiotask.AsyncResult[Any] = parent.apply_async()
        async with self.app.worker(queues=["default"], **options):
            await self.wait_for_children(children)
        assert await result.status() is Status.PENDING
        return result

    async def wait_for_children(self, count: int) -> None:
        async def there() -> bool:
            async with self.app.inspector() as inspector:
                return sum(q.pending for q in await inspector.queues() if q.name == "children") == count

        await wait_until_async(there, description=f"{count} children wait")

    async def value(self, result: aiotask.AsyncResult[Any]) -> Any:
        async with self.app.worker(queues=["default", "children"]):
            return await result


@pytest.fixture
async def stage(broker_url: str, app_name: str) -> AsyncIterator[Stage]:
    app = App(app_name, url=broker_url)
    async with app:
        yield Stage(app)


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
    assert "1 job goes back: it only waits for other jobs" in caplog.text
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
    parent = stage.parent(lambda: by_gather(stage.child.apply_async), id="nightly", result_ttl=0.01)
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
        return sum(await by_gather(lambda each: stage.child.apply_async(10 * n + each)))

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
