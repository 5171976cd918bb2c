"""Async jobs share an asyncio task until one of them waits for something: no job can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest

from aiotask import App, AsyncTask, JobCancelled, JobTimeout

app = App("asynclane", url="memory://asynclane")
colour: ContextVar[str] = ContextVar("colour", default="none")


@app.task
async def paint(wanted: str) -> str:
    before = colour.get()
    colour.set(wanted)
    return before


@app.task
async def paint_slowly(wanted: str) -> tuple[str, str]:
    before = colour.get()
    token = colour.set(wanted)
    await asyncio.sleep(0.001)
    after = colour.get()
    colour.reset(token)
    return before, after


@app.task
async def keeps_its_task() -> bool:
    at_first = asyncio.current_task()
    await asyncio.sleep(0)
    return at_first is asyncio.current_task()


@app.task
async def limits_itself() -> str:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError:
        return "late"
    return "never"


@app.task
async def groups() -> int:
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(asyncio.sleep(0.001, 42))
    return answer.result()


@app.task
async def uses_anyio() -> bool:
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)
    return scope.cancelled_caught


@app.task
async def cancels_itself() -> int:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return 1


@app.task
async def cancels_itself_and_waits() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


@app.task(timeout=0.05)
async def takes_too_long() -> None:
    await asyncio.Event().wait()


@app.task
async def fails() -> None:
    raise KeyError("k")


@pytest.fixture
async def worker() -> AsyncIterator[None]:
    async with app.worker(max_in_flight=10), app:
        yield


async def test_what_a_job_puts_into_a_context_variable_no_other_job_sees(worker: None) -> None:
    quick = [paint.apply_async(f"quick {n}") for n in range(50)]
    slow = [paint_slowly.apply_async(f"slow {n}") for n in range(50)]

    assert await asyncio.gather(*quick) == ["none"] * 50
    assert await asyncio.gather(*slow) == [("none", f"slow {n}") for n in range(50)]
    assert colour.get() == "none"


@pytest.mark.parametrize(
    ("task", "value"), [(keeps_its_task, True), (limits_itself, "late"), (groups, 42), (uses_anyio, True)]
)
async def test_asyncio_and_anyio_find_the_task_of_a_job(
    worker: None, task: AsyncTask[[], object], value: object
) -> None:
    between = [paint.apply_async("red") for _ in range(20)]

    assert await asyncio.gather(*(task.apply_async() for _ in range(20))) == [value] * 20
    await asyncio.gather(*between)


@pytest.mark.parametrize("task", [cancels_itself, cancels_itself_and_waits])
async def test_a_job_that_cancels_its_task_cancels_no_other_job(worker: None, task: AsyncTask[[], object]) -> None:
    sent = [one.apply_async() for _ in range(20) for one in (task, keeps_its_task)]

    answers = await asyncio.gather(*sent, return_exceptions=True)

    assert [type(answer) for answer in answers[::2]] == [JobCancelled] * 20
    assert answers[1::2] == [True] * 20


async def test_failures_and_limits_stay_with_their_job(worker: None) -> None:
    sent = [one.apply_async() for _ in range(10) for one in (fails, takes_too_long, groups)]

    answers = await asyncio.gather(*sent, return_exceptions=True)

    assert [type(answer) for answer in answers] == [KeyError, JobTimeout, int] * 10
