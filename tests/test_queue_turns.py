"""Queues of one worker: equal turns, weights and strict order, while the worker has more to do than it can."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from string import ascii_lowercase

import pytest

from aiotask import App, ConfigError, gather

from .helpers import wait_until_async

#: The queues of jobs in the order in which they start, with these queues given to the worker, and jobs sent to each.
Starts = Callable[..., Awaitable[list[str]]]


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


@pytest.fixture
def starts(app: App) -> Starts:
    @app.task(name="test:start")
    async def start(queue: str) -> None:
        order.append(queue)
        # Longer than the 50 ms for which a worker claims ahead, and at random: a claim is for a few seats.
        await asyncio.sleep(random.uniform(0.06, 0.12))

    order: list[str] = []

    async def run(queues: str, sent: dict[str, int], count: int) -> list[str]:
        async with app:
            for queue, jobs in sent.items():
                for _ in range(jobs):
                    start.options(queue=queue, ignore_result=True, priority=random.randrange(10)).apply_async(queue)
            await app.flush()
            async with app.worker(queues=queues, max_in_flight=50):
                await wait_until_async(lambda: len(order) >= count, description="jobs start", timeout=60)
        return order[:count]

    return run


async def test_weights_are_shares_of_what_starts_while_all_queues_are_full(starts: Starts) -> None:
    sent = {"low": 1_500, "default": 1_500, "critical": 1_500}
    started = Counter(await starts("critical:6,default:3,low:1", sent, 1_500))

    assert started["critical"] == pytest.approx(900, abs=225), started
    assert started["default"] == pytest.approx(450, abs=225), started
    assert started["low"] == pytest.approx(150, abs=225), started


async def test_the_share_of_an_empty_queue_goes_to_the_others(starts: Starts) -> None:
    started = await starts("critical:6,default:3,low:1", {"low": 600, "default": 30}, 600)

    assert Counter(started[:300]) == {"default": 30, "low": 270}


async def test_in_strict_order_a_queue_waits_for_all_before_it(starts: Starts) -> None:
    started = await starts("critical>default>low", {"low": 60, "default": 60, "critical": 60}, 180)

    assert started == ["critical"] * 60 + ["default"] * 60 + ["low"] * 60


async def test_26_queues_take_equal_turns(starts: Starts) -> None:
    started = Counter(await starts(",".join(ascii_lowercase), dict.fromkeys(ascii_lowercase, 60), 26 * 25))

    assert started.keys() == set(ascii_lowercase)
    assert min(started.values()) >= 5, started


async def test_a_worker_registers_plain_names_and_its_order(app: App) -> None:
    async with app, app.worker(queues=["critical:6", "low:1"]), app.inspector() as inspector:
        [worker] = await inspector.workers()

    assert worker.facts["queues"] == ["critical", "low"]
    assert worker.facts["order"] == "critical:6, low:1"


async def test_equal_turns_are_no_order(app: App) -> None:
    async with app, app.worker(queues=["a", "b"]), app.inspector() as inspector:
        [worker] = await inspector.workers()

    assert worker.facts["queues"] == ["a", "b"]
    assert "order" not in worker.facts


async def test_a_worker_refuses_nonsense(app: App) -> None:
    with pytest.raises(ConfigError, match='"low:x" has no weight'):
        async with app.worker(queues="critical:6,low:x"):
            pass
