"""Streams and progress as type checkers see them. Checked by mypy and pyright, never run.

As in ``typing_api.py``, a line with ``# type: ignore[code]`` must be an error of exactly this kind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from aiotask import App, Progress, Stream, SyncStreamTask, current_job

app = App("kitchen")


@app.task
def weigh(grams: int) -> float:
    return float(grams)


@app.task
async def double(grams: int) -> int:
    return grams * 2


@app.task
async def tokens(n: int) -> AsyncIterator[str]:
    yield "x"


@app.task(retries=1, timeout=60)
async def generated(n: int) -> AsyncGenerator[str, None]:
    yield "x"


@app.task
def numbers(n: int) -> Iterator[int]:
    yield 1


@app.task(queue="heavy")
def counted(n: int) -> Generator[int, None, None]:
    yield 1


assert_type(app.register_task(lambda: iter([1]), name="lambda"), SyncStreamTask[[], int])


async def streaming() -> None:
    async for token in tokens.apply_async(3):
        assert_type(token, str)
    async for token in generated.options(queue="q").apply_async(3):
        assert_type(token, str)
    async for token in tokens(3):
        assert_type(token, str)
    for number in numbers(3):
        assert_type(number, int)
    async for position, number in counted.apply_async(3).items(after=7):
        assert_type(position, int)
        assert_type(number, int)
    assert_type(tokens.apply_async(3), Stream[str])
    assert_type(await tokens.apply_async(3), list[str])
    assert_type(numbers.apply_async(3).get(), list[int])
    assert_type(tokens.result("id"), Stream[str])
    assert_type(app.stream("id"), Stream[Any])
    async for progress in weigh.apply_async(1).progress():
        assert_type(progress, Progress)
        assert_type(progress.fraction, float | None)
    current_job().progress(1, 10, "weighing")
    await tokens.apply_async(3).aclose()


async def streaming_wrongly() -> None:
    tokens.apply_async("x")  # type: ignore[arg-type]
    tokens.s(3)  # type: ignore[attr-defined]
    numbers.map([3])  # type: ignore[attr-defined]
    double.s(1).then(numbers)  # type: ignore[arg-type]
    double.s(1).on_success(tokens)  # type: ignore[arg-type]
    current_job().progress("1")  # type: ignore[arg-type]
    async for _ in double.apply_async(1):  # type: ignore[attr-defined]
        pass


def saving() -> None:
    job = current_job()
    job.checkpoint({"step": 1})
    assert_type(job.last_checkpoint(dict[str, int]), dict[str, int] | None)
    assert_type(job.last_checkpoint(int) or 0, int)
    assert_type(job.last_checkpoint(), Any)
    job.last_checkpoint("int")  # type: ignore[call-overload]
    job.checkpoint()  # type: ignore[call-arg]
