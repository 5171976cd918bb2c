"""T20: a long job that saves checkpoints goes on behind the last one, whatever becomes of its worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, JobTimeout
from aiotask.brokers import connect, streams_of
from aiotask.tasks.task import task_of
from aiotask.wire.checkpoints import open_checkpoint
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async
from ..streams.saving import steps_of
from ..streams.shop import make_app
from ..workers import Supervisor, Workers

TIMEOUT = 120
FIRST, REST = ["begin", *map(str, range(1, 8))], ["again", "8", "9", "10"]

#: The checkpoint that the server has of a job.
Kept = Callable[[str], Awaitable[bytes | None]]


@pytest.fixture
async def shop(redis_url: str, app_name: str) -> AsyncIterator[App]:
    app = make_app(redis_url, app_name)
    yield app
    await app.client.close()


@pytest.fixture
def start(workers: Workers, app_name: str) -> Callable[..., Supervisor]:
    return lambda *options: workers.start(
        "tests.streams.shop", concurrency=1, options=options, env={"TEST_APP": app_name}
    )


@pytest.fixture
async def kept(shop: App) -> AsyncIterator[Kept]:
    broker = connect(shop.url, shop.name)

    async def read(id: str) -> bytes | None:
        [found] = await streams_of(broker).checkpoints([id])
        return found

    yield read
    await broker.close()


def task(app: App, name: str) -> Any:
    definition = app.registry.get(name)
    assert definition is not None
    return task_of(definition, app)


async def saved_step(shop: App, name: str, id: str, kept: Kept, step: int) -> None:
    """Return when the server has the checkpoint of this step."""
    sealer = Sealer(shop.secrets, "checkpoint")

    async def is_saved() -> bool:
        sealed = await kept(id)
        if sealed is None:
            return False
        return bool(shop.serializer.load_value(open_checkpoint(sealer, id, name, sealed), None) == {"step": step})

    await wait_until_async(is_saved, description=f"step {step} is saved", timeout=60)


def kill(path: Path) -> None:
    os.kill(int((path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("name", ["waits", "waits_sync"])
async def test_t20_killed_at_step_7_the_next_run_begins_behind_it(
    shop: App, start: Callable[..., Supervisor], kept: Kept, tmp_path: Path, name: str
) -> None:
    start()
    result = task(shop, name).apply_async(str(tmp_path))
    await saved_step(shop, name, result.id, kept, 7)
    kill(tmp_path)

    assert await result.wait(TIMEOUT) == "done"
    assert steps_of(tmp_path) == [*FIRST, *REST]
    assert await kept(result.id) is None


async def test_t20_two_deaths_in_a_row(shop: App, start: Callable[..., Supervisor], kept: Kept, tmp_path: Path) -> None:
    start()
    result = task(shop, "waits").apply_async(str(tmp_path), [2, 7])
    await saved_step(shop, "waits", result.id, kept, 2)
    kill(tmp_path)
    await saved_step(shop, "waits", result.id, kept, 7)
    kill(tmp_path)

    assert await result.wait(TIMEOUT) == "done"
    assert steps_of(tmp_path) == ["begin", "1", "2", "again", *map(str, range(3, 8)), *REST]


async def test_t20_a_worker_that_stops_gives_its_job_on(
    shop: App, start: Callable[..., Supervisor], kept: Kept, tmp_path: Path
) -> None:
    first = start("--grace", "0.2")
    result = task(shop, "waits").apply_async(str(tmp_path))
    await wait_until_async(lambda: "7" in steps_of(tmp_path), description="the job has made 7 steps", timeout=60)
    assert await asyncio.to_thread(first.stop) == 0
    start()

    assert await result.wait(TIMEOUT) == "done"
    assert steps_of(tmp_path) == [*FIRST, *REST]


@pytest.mark.parametrize("runs", [1, 2])
async def test_t20_killed_at_its_time_limit(
    shop: App, start: Callable[..., Supervisor], kept: Kept, tmp_path: Path, runs: int
) -> None:
    start()
    result = task(shop, "overdue").apply_async(str(tmp_path), runs)
    if runs == 1:
        assert await result.wait(TIMEOUT) == "done"
    else:
        with pytest.raises(JobTimeout, match="its process was killed"):
            await result.wait(TIMEOUT)

    assert steps_of(tmp_path) == ["begin", "1", "again", "2"]
    assert await kept(result.id) is None
