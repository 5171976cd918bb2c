"""A burst ends when the queues are empty."""

from __future__ import annotations

import asyncio

import pytest
import redis

from aiotask.brokers.redis.keys import prefix

from ..acceptance.stage import Stage
from .seen import live


async def test_a_burst_empties_the_queues_and_ends(stage: Stage) -> None:
    sent = [stage.aecho.apply_async(n) for n in range(300)] + [stage.echo.apply_async(n) for n in range(100)]
    await stage.app.flush()
    supervisor = stage.start(2, "--burst", wait=False)
    assert supervisor.wait() == 0
    assert await asyncio.gather(*sent) == [*range(300), *range(100)]
    assert await live(stage.app) == set() and supervisor.session() == []


@pytest.mark.parametrize("others", [0, 1_500])
async def test_a_burst_goes_on_after_the_death_of_a_worker(stage: Stage, others: int) -> None:
    """With many queues on the server the first one dies before it has counted them and said that it is up."""
    pills = [stage.crash.apply_async("segfault"), stage.acrash.apply_async("0")]
    sent = [stage.aecho.apply_async(n) for n in range(100)]
    await stage.app.flush()
    if others:
        with redis.Redis.from_url(stage.app.broker_url) as server:
            server.sadd(f"{prefix(stage.app.name)}queues", *(f"other-{n}" for n in range(others)))
    supervisor = stage.start(1, "--burst", wait=False)
    assert supervisor.wait() == 0
    assert await asyncio.gather(*(result.wait(30) for result in sent)) == list(range(100))
    ends = await asyncio.gather(*(pill.wait(30) for pill in pills), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["WorkerLost", "WorkerLost"]
