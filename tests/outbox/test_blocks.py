"""What a block of ``in_transaction`` takes in, and what it leaves as it was."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from aiotask import App, Call, Middleware, chain, current_job, group
from aiotask.broker import Push
from aiotask.brokers.sql.outbox import unpacked
from aiotask.client.client import Client
from aiotask.errors import ConfigError
from aiotask.job import decode_job
from aiotask.sql.transactions import Outbox
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async
from .shop import TABLES, Shop


@pytest.fixture
def connection(sqlite_shop: Shop) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(sqlite_shop.driver_url)) as opened:
        yield opened


@pytest.fixture
def shop(sqlite_shop: Shop) -> Shop:
    return sqlite_shop


async def test_only_sends_of_this_app_in_this_context_are_taken(shop: Shop, connection: sqlite3.Connection) -> None:
    other = App("other", url="memory://")

    @other.task
    async def double(n: int) -> int:
        return 2 * n

    begun, ended = asyncio.Event(), asyncio.Event()

    async def elsewhere() -> int:
        await begun.wait()
        result = shop.note.apply_async(2)
        ended.set()
        return await result

    async with shop.app.worker(), other.worker():
        outside = asyncio.create_task(elsewhere())
        with shop.app.in_transaction(connection):
            shop.note.apply_async(1)
            assert await double.apply_async(4) == 8
            begun.set()
            await ended.wait()
        connection.rollback()
        assert await outside == 20
    await shop.app.client.close()
    await other.client.close()
    assert (shop.ran, shop.waiting()) == ([2], [])


async def test_blocks_of_two_apps_in_each_other(shop: Shop, connection: sqlite3.Connection) -> None:
    other = Shop(shop.url, "other")
    with shop.app.in_transaction(connection), other.app.in_transaction(connection):
        shop.note.apply_async(1)
        other.note.apply_async(2)
    connection.commit()
    with shop.database.reading() as reading:
        assert reading.execute(sa.select(TABLES.outbox.c.app)).scalars().all() == ["other", shop.app.name]


async def test_a_task_that_outlives_the_block_is_refused(shop: Shop, connection: sqlite3.Connection) -> None:
    over = asyncio.Event()

    async def late(n: int) -> None:
        if n:
            await over.wait()
        shop.note.apply_async(n)

    with shop.app.in_transaction(connection):
        first, second = asyncio.create_task(late(0)), asyncio.create_task(late(1))
        await first
    connection.commit()
    over.set()
    with pytest.raises(ConfigError, match="outside"):
        await second
    assert shop.waiting() == [0]


async def test_a_client_looks_for_blocks_only_while_there_may_be_one(
    shop: Shop, connection: sqlite3.Connection
) -> None:
    client = shop.app.client
    assert type(client) is Client
    with shop.app.in_transaction(connection) as outbox:
        shop.note.apply_async(1)
        assert type(client) is not Client
    connection.rollback()
    gc.collect()
    shop.note.apply_async(2)
    assert type(client) is Client
    assert outbox.jobs
    await client.close()


def test_a_thread_that_the_block_has_started_with_its_context(shop: Shop, connection: sqlite3.Connection) -> None:
    async def block() -> None:
        with shop.app.in_transaction(connection):
            await asyncio.to_thread(shop.note.apply_async, 1)
            thread = threading.Thread(target=shop.note.apply_async, args=(2,))
            thread.start()
            thread.join()
        connection.commit()
        await shop.app.client.close()

    asyncio.run(block())
    assert shop.waiting() == [1]


@pytest.mark.parametrize("what", ["graph", "group", "map", "chain", "follow-up"])
def test_a_graph_is_refused(shop: Shop, connection: sqlite3.Connection, what: str) -> None:
    note = shop.note
    sends = {
        "graph": lambda: note.apply_async(note.s(1).cast),
        "group": lambda: group(note.s(1), note.s(2)).apply_async(),
        "map": lambda: note.map([1, 2]),
        "chain": lambda: chain(note.s(1), note).apply_async(),
        "follow-up": lambda: note.s(1).on_success(note).apply_async(),
    }
    with shop.app.in_transaction(connection) as outbox, pytest.raises(ConfigError, match="graph or a group"):
        sends[what]()
    assert outbox.jobs == []


def test_a_block_is_entered_once(shop: Shop, connection: sqlite3.Connection) -> None:
    block = shop.app.in_transaction(connection)
    with block:
        pass
    with pytest.raises(ConfigError, match="entered before"), block:
        pass


def test_an_app_without_a_database_is_told_to_have_one(connection: sqlite3.Connection) -> None:
    with pytest.raises(ConfigError, match="AIOTASK_DATABASE"):
        App("shop", url="memory://").in_transaction(connection)


# ---- what is sent


def sent(shop: Shop) -> tuple[Push, Any]:
    """Push and job of the only row."""
    with shop.database.reading() as reading:
        push = unpacked(reading.execute(sa.select(TABLES.outbox.c.push)).scalar_one())
    return push, decode_job(Sealer(shop.app.secrets, "job").open(push.sealed))


def test_a_delay_counts_from_the_send_and_expires_too(shop: Shop, connection: sqlite3.Connection) -> None:
    before = time.time()
    with shop.app.in_transaction(connection):
        shop.note.options(delay=100, expires=500, priority=2).apply_async(1)
    after = time.time()
    connection.commit()
    push, job = sent(shop)
    assert push.delay == 0
    assert before + 100 <= push.eta <= after + 100
    assert push.special is not None
    assert before + 500 <= push.special.expires <= after + 500
    assert job.more.expires == -500
    assert push.priority == 2


def test_middleware_runs_at_the_send(sqlite_url: str, app_name: str) -> None:
    class Tenant(Middleware):
        left = 0

        def send(self, call: Call) -> AbstractContextManager[None]:
            @contextmanager
            def around() -> Iterator[None]:
                call.headers["tenant"] = "acme"
                yield
                Tenant.left += 1

            return around()

    shop = Shop(sqlite_url, app_name, middleware=[Tenant()])
    with closing(sqlite3.connect(shop.driver_url)) as connection:
        with shop.app.in_transaction(connection):
            shop.note.apply_async(1)
            assert Tenant.left == 1
        connection.commit()
    assert sent(shop)[1].more.headers == {"tenant": "acme"}


async def test_a_key_and_a_limit_of_the_queue(sqlite_url: str, app_name: str) -> None:
    shop = Shop(sqlite_url, app_name, max_pending=1)
    with closing(sqlite3.connect(shop.driver_url)) as connection:
        with shop.app.in_transaction(connection):
            for n in range(3):
                shop.note.options(key="same").apply_async(n)
            for n in range(3, 6):
                shop.note.apply_async(n)
        connection.commit()
    async with shop.app, shop.app.worker():
        await wait_until_async(lambda: len(shop.ran) == 4, description="all jobs have run")
    assert shop.ran == [0, 3, 4, 5]


async def test_a_job_sends_in_a_transaction(shop: Shop, connection: sqlite3.Connection) -> None:
    parents: list[str] = []

    @shop.app.task(name="shop:child", queue="children")
    async def child() -> None:
        job = current_job().job
        parents.append(job.more.parent if job.more is not None else "")

    @shop.app.task(name="shop:parent")
    async def parent() -> None:
        with closing(sqlite3.connect(shop.driver_url)) as own:
            with shop.app.in_transaction(own):
                child.apply_async()
            own.commit()

    async with shop.app, shop.app.worker():
        result = parent.apply_async()
        await result
        await wait_until_async(lambda: parents, description="the child has run")
    assert parents == [result.id]


async def test_a_block_in_a_fixture_ends_in_another_context(shop: Shop, connection: sqlite3.Connection) -> None:
    """As pytest-asyncio runs the two halves of a fixture."""
    block = shop.app.in_transaction(connection)
    await asyncio.create_task(_enter(block))
    await block.__aexit__(None, None, None)
    async with shop.app.worker():
        assert await shop.note.apply_async(1) == 10
    await shop.app.client.close()


async def _enter(block: Outbox) -> None:
    await block.__aenter__()
