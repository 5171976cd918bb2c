"""A worker whose seats for jobs of one kind are full, beside waiting jobs of that kind and of the other one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiotask import App
from aiotask.inspector import JobFilter
from aiotask.job import Status

from .helpers import wait_until_async
from .server import PrivateServer

#: Scripts that a server runs while a worker with full seats looks for jobs of the other kind several times.
SCRIPTS = 60


def count(n: int) -> int:
    return n


class Shop:
    """An app with an async and a sync task, of which the async ones wait for a gate."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.gate = asyncio.Event()
        self.began: list[int] = []

        async def wait(n: int) -> None:
            self.began.append(n)
            await self.gate.wait()

        self.wait = app.register_task(wait, name="shop:wait")
        self.count = app.register_task(count, name="shop:count")

    async def waiting(self) -> list[str]:
        async with self.app.inspector() as inspector:
            return [job.id for job in (await inspector.page(JobFilter(Status.PENDING), "", 100)).jobs]


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str) -> AsyncIterator[Shop]:
    async with App(app_name, url=own_server.url) as app:
        yield Shop(app)


def scripts(server: PrivateServer) -> int:
    return int(server.call("INFO", "commandstats")["cmdstat_evalsha"]["calls"])


async def test_jobs_that_no_seat_is_free_for_keep_their_places(shop: Shop, own_server: PrivateServer) -> None:
    async with shop.app.worker(max_in_flight=2):
        held = [shop.wait.apply_async(n) for n in range(2)]
        await wait_until_async(lambda: len(shop.began) == 2, description="all seats are taken")
        sent = [shop.wait.apply_async(n) for n in range(2, 22)]
        await shop.app.flush()
        before = scripts(own_server)
        await wait_until_async(
            lambda: scripts(own_server) > before + SCRIPTS, description="the worker has looked around"
        )

        assert await shop.waiting() == [handle.id for handle in sent]
        shop.gate.set()
        for handle in (*held, *sent):
            await handle
    assert shop.began == list(range(22))


async def test_a_job_of_the_other_kind_is_found_behind_them(shop: Shop) -> None:
    async with shop.app.worker(max_in_flight=2):
        held = [shop.wait.apply_async(n) for n in range(2)]
        await wait_until_async(lambda: len(shop.began) == 2, description="all seats are taken")
        sent = [shop.wait.apply_async(n) for n in range(2, 22)]
        await shop.app.flush()

        assert await asyncio.wait_for(shop.count.apply_async(7), 30) == 7

        shop.gate.set()
        for handle in (*held, *sent):
            await handle
    assert sorted(shop.began) == list(range(22))
