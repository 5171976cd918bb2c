"""The wait for a parked job: it ends with an error only if no live worker has what the job needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from aiotask import App, ResultTimeout, SerializationError, UnknownTask
from aiotask.broker import Broker
from aiotask.brokers import connect
from aiotask.job import RELEASE

from ..seam import Worker

TASK = "shop.tasks:render"


@pytest.fixture
async def broker_of(redis_url: str, app_name: str) -> AsyncIterator[Callable[[], Broker]]:
    """Makes broker objects as other processes have them."""
    made: list[Broker] = []

    def make() -> Broker:
        made.append(connect(redis_url, app_name))
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


@pytest.mark.parametrize(
    ("need", "facts", "refusal"),
    [
        (f"task:{TASK}", {"tasks": [TASK]}, UnknownTask),
        (f"release:{RELEASE + 1}", {"release": RELEASE + 1}, UnknownTask),
        ("python:3.8", {"python": "3.8.1"}, SerializationError),
    ],
)
async def test_a_live_worker_that_is_busy_may_still_take_it(
    need: str,
    facts: dict[str, object],
    refusal: type[Exception],
    redis_url: str,
    app_name: str,
    broker_of: Callable[[], Broker],
) -> None:
    async with App(app_name, url=redis_url) as app:
        result = app.s(TASK, 1).apply_async()
        await result.sent()
        older = await Worker(broker_of(), "older.1").enlist()
        [delivery] = (await older.claim()).deliveries
        await older.requeue(delivery, need=need)
        broker = broker_of()
        await broker.enlist("newer.1", "newer", msgspec.msgpack.encode(facts))
        # Longer than the wait for a job that nothing can run.
        with pytest.raises(ResultTimeout):
            await result.wait(6)

        await broker.recover("newer.1")
        with pytest.raises(refusal):
            await result.wait(60)
