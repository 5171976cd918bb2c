"""Queues of one worker: among jobs of equal priority no queue starves another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from aiotask import App, gather


@pytest.fixture
def app(app_name: str, broker_url: str) -> App:
    return App(app_name, url=broker_url)


async def test_a_long_queue_does_not_starve_one_whose_name_comes_later(app: App) -> None:
    order: list[str] = []

    @app.task(name="test:note")
    async def note(queue: str) -> None:
        order.append(queue)

    many = note.options(queue="a")
    few = note.options(queue="z")
    async with app:
        long = [many.apply_async("a") for _ in range(3_000)]
        short = [few.apply_async("z") for _ in range(10)]
        await app.flush()
        async with app.worker(queues=["a", "z"]):
            await gather(short)
            await gather(long)

    assert order.count("a") == 3_000
    assert order.index("z") < 1_500, "the first job of the short queue ran after half of the long one"


async def test_priority_counts_across_queues(app: App, run_all: Callable[[], Awaitable[list[str]]]) -> None:
    assert await run_all() == ["z", "a"]


@pytest.fixture
def run_all(app: App) -> Callable[[], Awaitable[list[str]]]:
    order: list[str] = []

    @app.task(name="test:note")
    async def note(queue: str) -> None:
        order.append(queue)

    async def run() -> list[str]:
        async with app:
            later = note.options(queue="a", priority=6).apply_async("a")
            first = note.options(queue="z", priority=4).apply_async("z")
            await app.flush()
            async with app.worker(queues=["a", "z"]):
                await gather([later, first])
        return order

    return run
