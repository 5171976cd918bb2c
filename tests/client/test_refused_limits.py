"""Limits that the server refuses, since a worker of an older release lives: jobs of other tasks go all the same."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from aiotask import App, BrokerError, Limit
from aiotask.job import Status

api = Limit("api", max_running=2)


@pytest.fixture
async def here(redis_url: str, app_name: str) -> App:
    app = App(app_name, url=redis_url)
    facts = msgspec.msgpack.encode({"host": "db-7"})
    await app.client.session().broker.enlist("old.1", "old", facts)
    return app


async def test_jobs_without_a_limit_are_sent(here: App) -> None:
    @here.task(limit=api)
    async def limited(n: int) -> None: ...

    @here.task
    async def plain(n: int) -> None: ...

    async with here:
        refused, sent = [], []
        for n in range(5):
            refused.append(limited.apply_async(n))
            sent.append(plain.apply_async(n))
        for result in refused:
            with pytest.raises(BrokerError, match=r'host "db-7" is of an older release.*Restart the workers'):
                await result.sent()
        for result in sent:
            await asyncio.wait_for(result.sent(), 120)
            assert await result.status() is Status.PENDING
        # All those that come later, too; and alone.
        with pytest.raises(BrokerError, match="older release"):
            await limited.apply_async(7).sent()
        await plain.apply_async(8).sent()
        await here.flush()


async def test_jobs_of_the_limit_are_sent_once_the_older_worker_is_gone(here: App) -> None:
    @here.task(limit=api)
    async def limited(n: int) -> None: ...

    async with here:
        with pytest.raises(BrokerError, match="older release"):
            await limited.apply_async(1).sent()
        await here.client.session().broker.declare_dead("old")
        result = limited.apply_async(2)
        await result.sent()
        assert await result.status() is Status.PENDING


async def test_a_caller_that_awaits_the_value_gets_the_error(here: App, caplog: pytest.LogCaptureFixture) -> None:
    @here.task(limit=api)
    async def limited(n: int) -> None: ...

    @here.task
    async def plain(n: int) -> None: ...

    async with here:
        results = [limited.apply_async(n) for n in range(3)]
        await plain.apply_async(1).sent()
        for result in results:
            with pytest.raises(BrokerError, match="older release"):
                await asyncio.wait_for(result, 120)
    assert "Sending failed" not in caplog.text


async def test_a_graph_with_a_job_of_the_limit_is_refused_alone(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=redis_url)
    # Something else stands where the names of limits are kept.
    broker = app.client.session().broker
    await broker.wire.call("SET", f"{broker.prefix}limits", "nonsense")  # type: ignore[attr-defined]

    @app.task(limit=api)
    async def limited(n: int) -> int:
        return n

    @app.task
    async def plain(n: int) -> int:
        return n

    async with app:
        graph = plain.s(limited.s(1).cast).apply_async()
        other = plain.s(plain.s(1).cast).apply_async()
        await asyncio.wait_for(other.sent(), 120)
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            await asyncio.wait_for(graph.sent(), 120)
