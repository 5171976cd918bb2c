"""A job of a transaction has the limit of its task from when it is sent to the broker."""

from __future__ import annotations

import asyncio

from aiotask import Limit

from ..helpers import wait_until_async
from .shop import Shop


async def test_jobs_of_a_transaction_are_limited(database_url: str, app_name: str, redis_url: str) -> None:
    shop = Shop(database_url, app_name, redis_url)
    running, most = 0, 0

    @shop.app.task(name="shop:render", limit=Limit(by="tenant", max_running_each=1))
    async def render(tenant: str, n: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        shop.ran.append(n)

    with shop.database.engine.begin() as connection, shop.app.in_transaction(connection):
        for n in range(6):
            render.apply_async("acme", n)
    async with shop.app, shop.app.worker():
        await wait_until_async(lambda: len(shop.ran) == 6, description="all have run")

    assert shop.ran == list(range(6))
    assert most == 1
