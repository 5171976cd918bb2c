"""T17 to T19: streams and progress with real worker processes, while connections break and processes are killed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from aiotask import App, ConfigError, JobCancelled, Status
from aiotask.tasks.task import task_of

from ..helpers import wait_until_async
from ..server import PrivateServer
from ..streams.shop import make_app
from ..workers import ROOT, Workers


@pytest.fixture(scope="session")
def many(is_full: bool) -> int:
    """Items of a long stream: many windows."""
    return 100_000 if is_full else 20_000


@pytest.fixture
async def shop(workers: Workers, redis_url: str, app_name: str) -> AsyncIterator[App]:
    workers.start("tests.streams.shop", concurrency=2, env={"TEST_APP": app_name})
    app = make_app(redis_url, app_name)
    yield app
    await app.client.close()


def task(app: App, name: str) -> Any:
    definition = app.registry.get(name)
    assert definition is not None
    return task_of(definition, app)


@asynccontextmanager
async def breaking_connections(url: str, kind: str = "pubsub", every: float = 0.15) -> AsyncIterator[None]:
    """While the block lasts, the server ends every connection of a kind again and again, but for this one."""
    server = redis.asyncio.from_url(url)

    async def break_them() -> None:
        while True:
            await asyncio.sleep(every)
            await server.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    breaking = asyncio.create_task(break_them())
    try:
        yield
    finally:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
        await server.aclose()


# ---- T17


@pytest.mark.parametrize("name", ["steps", "steps_sync"])
async def test_t17_progress_is_seen_as_it_grows_and_to_its_end(shop: App, name: str) -> None:
    result = task(shop, name).apply_async(1_000)
    seen = [progress.current async for progress in result.progress()]

    assert seen == sorted(set(seen))
    assert seen[-1] == 1_000
    assert len(seen) < 500, "not every call is sent"


@pytest.mark.parametrize("name", ["hurried", "hurried_sync"])
async def test_t17_a_thousand_calls_a_second_are_told_ten_times_a_second(shop: App, name: str, is_full: bool) -> None:
    count = 30_000 if is_full else 2_000
    result, began = task(shop, name).apply_async(count, 1_000), time.monotonic()
    seen = [progress.current async for progress in result.progress()]
    took = time.monotonic() - began

    assert seen == sorted(set(seen))
    assert seen[-1] == count
    assert await result == count
    # At most every 0.1 s, and at the end.
    assert len(seen) <= took / 0.1 + 2


async def test_t17_of_progress_that_nobody_reads_nobody_is_told(
    own_server: PrivateServer, workers: Workers, app_name: str
) -> None:
    workers.start("tests.streams.shop", concurrency=1, env={"TEST_APP": app_name, "AIOTASK_URL": own_server.url})
    shop = make_app(own_server.url, app_name)

    def published() -> int:
        stats = own_server.call("INFO", "commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("publish", "spublish"))

    async def told(call: Any) -> int:
        """How often the server was told to publish something until a job had ended."""
        before = published()
        await call
        return published() - before

    async with shop:
        await task(shop, "quick").apply_async()
        outcome_alone = await told(task(shop, "quick").apply_async())
        assert await told(task(shop, "hurried").apply_async(1_500, 1_000)) == outcome_alone
        followed = task(shop, "hurried").apply_async(1_500, 1_000)
        before = published()
        seen = [progress.current async for progress in followed.progress()]
        assert seen[-1] == 1_500
        assert published() - before > outcome_alone


async def test_t17_nothing_is_left_of_progress_at_the_end(shop: App, redis_url: str) -> None:
    results = [task(shop, "steps").apply_async(50) for _ in range(20)]
    seen = [[progress.current async for progress in result.progress()] for result in results]
    assert [await result for result in results] == [50] * 20
    assert seen[0][-1] == 50

    server = redis.asyncio.from_url(redis_url)
    assert not await server.exists(f"aiotask1:{{{shop.name}}}:progress", f"aiotask1:{{{shop.name}}}:follow")
    await server.aclose()


# ---- T18


@pytest.mark.parametrize("name", ["numbers", "numbers_sync"])
async def test_t18_items_come_once_and_in_order_over_broken_connections(
    shop: App, redis_url: str, name: str, many: int
) -> None:
    async with breaking_connections(redis_url):
        seen = [number async for number in task(shop, name).apply_async(many)]

    assert seen == list(range(1, many + 1))


@pytest.mark.parametrize("name", ["dying", "dying_sync"])
async def test_t18_items_come_once_and_in_order_although_connections_break_and_the_worker_is_killed(
    shop: App, redis_url: str, tmp_path: Path, name: str, many: int
) -> None:
    # Of workers, keepers and callers: what was being said then, nobody knows to have been heard.
    async with breaking_connections(redis_url, "normal", 0.7), breaking_connections(redis_url):
        seen = [number async for number in task(shop, name).apply_async(many, str(tmp_path))]

    assert seen == list(range(1, many + 1))
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_t18_a_reader_that_pauses_holds_the_run_and_not_the_seat(shop: App, name: str, tmp_path: Path) -> None:
    stream = task(shop, name).apply_async(str(tmp_path))
    items = stream.items()
    await anext(items)
    made = tmp_path / "made"
    await wait_until_async(lambda: made.exists() and int(made.read_text() or 0) >= 255, description="it is ahead")
    assert await task(shop, "quick").apply_async() == "quick"
    # Looked at again and again while the jobs behind it run: it waits.
    for _ in range(100):
        assert await task(shop, "quick").apply_async() == "quick"
        assert int(made.read_text() or 0) <= 256 + 64

    assert [(await anext(items))[0] for _ in range(2, 600)] == list(range(2, 600))
    await stream.aclose()
    await wait_until_async((tmp_path / "closed").exists, description="the generator's finally has run")


@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_t18_a_reader_that_leaves_ends_the_run(shop: App, name: str, tmp_path: Path) -> None:
    stream = task(shop, name).apply_async(str(tmp_path))
    async for number in stream:
        if number == 300:
            break

    # At once: the 10 s after which a reader counts as gone are not waited for.
    await wait_until_async((tmp_path / "closed").exists, description="the generator's finally has run", timeout=8)
    with pytest.raises(JobCancelled):
        await stream
    assert await stream.status() is Status.CANCELLED


READER = """
import asyncio, sys
from tests.streams.shop import make_app
from aiotask.tasks.task import task_of

async def main():
    app = make_app(sys.argv[1], sys.argv[2])
    stream = task_of(app.registry.get("endless"), app).apply_async(sys.argv[3])
    async for number, _ in stream.items():
        if number == 10:
            print(stream.id, flush=True)
            await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_t18_the_job_of_a_reader_that_is_killed_ends(shop: App, redis_url: str, tmp_path: Path) -> None:
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", READER, redis_url, shop.name, str(tmp_path)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    id = (await reader.stdout.readline()).decode().strip()
    reader.kill()
    await reader.wait()

    await wait_until_async((tmp_path / "closed").exists, description="the generator's finally has run", timeout=30)
    result = shop.result(id)
    with pytest.raises(JobCancelled):
        await result
    assert await result.status() is Status.CANCELLED


# ---- T19


async def test_t19_another_process_goes_on_after_the_last_item(shop: App, redis_url: str) -> None:
    stream = task(shop, "numbers").apply_async(2_000)
    seen = []
    async for position, number in stream.items():
        assert position == number
        seen.append(number)
        if number in (500, 700):
            break
    # Each time another client: its own process, connections and subscription.
    for stop in (900, 1_600, 0):
        other = make_app(redis_url, shop.name)
        async for _, number in other.stream(stream.id).items(after=seen[-1]):
            seen.append(number)
            if number == stop:
                break
        await other.client.close()

    assert seen == list(range(1, 2_001))
    with pytest.raises(ConfigError, match="not the number of an item"):
        shop.stream(stream.id).items(after="12-0")  # type: ignore[arg-type]
