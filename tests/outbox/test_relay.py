"""The relay: every committed job is sent once and in order, whatever dies, and whatever was restored or emptied."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
import redis.asyncio
import sqlalchemy as sa

from aiotask.broker import BATCH_JOBS, Broker, Push
from aiotask.brokers import connect, inspect
from aiotask.brokers.bounds import CLIENT_TTL, OUTBOX_TTL
from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.outbox import UNREADABLE, Outbox, packed
from aiotask.errors import ConfigError
from aiotask.keeper.relay import Relay

from ..helpers import wait_until_async
from ..server import PrivateServer
from . import relays
from .shop import TABLES, Shop


@pytest.fixture
def shop(database_url: str, app_name: str, redis_url: str) -> Shop:
    return Shop(database_url, app_name, redis_url)


def commit(shop: Shop, *numbers: int) -> None:
    with shop.database.engine.begin() as connection, shop.app.in_transaction(connection):
        for n in numbers:
            shop.note.apply_async(n)


async def all_run(shop: Shop, count: int) -> list[int]:
    """What has run, once it is so much and nothing waits any more."""
    async with shop.app, shop.app.worker():
        await wait_until_async(
            lambda: len(shop.ran) >= count and not shop.waiting(), description=f"{count} jobs have run"
        )
        await _drained(shop)
    return shop.ran


async def _drained(shop: Shop) -> None:
    async def empty() -> bool:
        async with shop.app.inspector() as inspector:
            return not any(queue.pending or queue.running for queue in await inspector.queues())

    await wait_until_async(empty, description="no job is left")


def run_relay(shop: Shop, step: str) -> int | None:
    return relays.run_relay(shop.url, shop.app.url, shop.app.name, step)


@pytest.mark.parametrize("step", ["taken", "pushed", "deleted"])
async def test_killed_after_each_of_its_steps(shop: Shop, step: str) -> None:
    numbers = list(range(2 * BATCH_JOBS + 7))
    commit(shop, *numbers)
    for _ in range(2):
        assert run_relay(shop, step) == -9
    assert run_relay(shop, "never") == 0
    assert shop.waiting() == []
    # In the order in which they were sent: one async worker begins them one after the other.
    assert await all_run(shop, len(numbers)) == numbers


async def test_two_relays_at_once_and_transactions_meanwhile(shop: Shop) -> None:
    def send() -> None:
        for n in range(0, 600, 3):
            commit(shop, n, n + 1, n + 2)

    sending = threading.Thread(target=send)
    sending.start()
    relays = [_Running(shop) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(relay.run()) for relay in relays]
        await asyncio.to_thread(sending.join)
        await wait_until_async(lambda: not shop.waiting(), description="all jobs are sent")
        for task in tasks:
            task.cancel()
    for relay in relays:
        await relay.close()
    assert await all_run(shop, 600) == list(range(600))


class _Running:
    """A relay with connections of its own."""

    def __init__(self, shop: Shop) -> None:
        self.broker = connect(shop.app.url, shop.app.name)
        self.relay = Relay(self.broker, shop.app.name, lambda: shop.database)

    async def run(self) -> None:
        await self.relay.run()

    async def close(self) -> None:
        await self.relay.close()
        await self.broker.close()


async def test_a_restored_database_and_new_jobs_in_it(sqlite_url: str, app_name: str, redis_url: str) -> None:
    """A counter in place of random names would make the broker take new jobs for old ones."""
    shop = Shop(sqlite_url, app_name, redis_url)
    commit(shop, 1, 2)
    backup = Path(shop.driver_url).with_suffix(".bak")
    with shop.database.writing() as connection:
        connection.execute(sa.delete(TABLES.outbox))
    shop.database.engine.dispose()
    shutil.copy(shop.driver_url, backup)
    commit(shop, 3)
    assert run_relay(shop, "never") == 0
    shop.database.engine.dispose()
    for tail in ("-wal", "-shm"):
        Path(shop.driver_url + tail).unlink(missing_ok=True)
    shutil.copy(backup, shop.driver_url)
    commit(shop, 4, 5)
    assert await all_run(shop, 3) == [3, 4, 5]


async def test_a_batch_that_the_backup_had_already_is_sent_once(sqlite_url: str, app_name: str, redis_url: str) -> None:
    shop = Shop(sqlite_url, app_name, redis_url)
    commit(shop, 1, 2)
    assert run_relay(shop, "taken") == -9
    backup = Path(shop.driver_url).with_suffix(".bak")
    with shop.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shop.database.engine.dispose()
    shutil.copy(shop.driver_url, backup)
    assert run_relay(shop, "never") == 0
    assert await all_run(shop, 2) == [1, 2]
    shop.database.engine.dispose()
    for tail in ("-wal", "-shm"):
        Path(shop.driver_url + tail).unlink(missing_ok=True)
    shutil.copy(backup, shop.driver_url)
    assert shop.waiting() == [1, 2]
    assert run_relay(shop, "never") == 0
    commit(shop, 3)
    assert await all_run(shop, 3) == [1, 2, 3]


async def test_a_server_that_was_emptied_gets_what_waits(
    own_server: PrivateServer, database_url: str, app_name: str
) -> None:
    shop = Shop(database_url, app_name, own_server.url)
    commit(shop, 1)
    assert run_relay(shop, "pushed") == -9
    own_server.call("FLUSHALL")
    commit(shop, 2)
    assert await all_run(shop, 2) == [1, 2]


async def test_a_server_that_is_down_gets_them_later(own_server: PrivateServer, sqlite_url: str, app_name: str) -> None:
    shop = Shop(sqlite_url, app_name, own_server.url)
    async with shop.app, shop.app.worker():
        own_server.kill()
        await asyncio.to_thread(commit, shop, 1, 2)
        await asyncio.to_thread(own_server.start)
        await wait_until_async(lambda: shop.ran == [1, 2], description="the jobs have run")
    assert shop.waiting() == []


async def test_a_transaction_that_began_first_and_commits_last_is_not_skipped(
    postgres_url: str, app_name: str, redis_url: str
) -> None:
    shop = Shop(postgres_url, app_name, redis_url)
    with shop.database.engine.connect() as connection:
        with shop.app.in_transaction(connection):
            shop.note.apply_async(1)
        commit(shop, 2)
        assert run_relay(shop, "never") == 0
        connection.commit()
    assert sorted(await all_run(shop, 2)) == [1, 2]


async def test_a_missing_table_stops_no_keeper(sqlite_url: str, app_name: str) -> None:
    shop = Shop(sqlite_url, app_name)
    TABLES.outbox.drop(shop.database.engine)
    async with shop.app, shop.app.worker():
        assert await shop.note.apply_async(1) == 10
        TABLES.outbox.create(shop.database.engine)
        await asyncio.to_thread(commit, shop, 2)
        await wait_until_async(lambda: shop.ran == [1, 2], description="the job has run")


async def test_what_cannot_be_read_is_left_alone(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.database.writing() as connection:
        connection.execute(sa.insert(TABLES.outbox).values(app=shop.app.name, push=b"\xc1 of a later release"))
    commit(shop, 1)
    async with shop.app, shop.app.worker():
        await wait_until_async(lambda: shop.ran == [1], description="the job has run")
    assert "cannot be read" in caplog.text
    with shop.database.reading() as connection:
        assert connection.execute(sa.select(TABLES.outbox.c.batch)).scalars().all() == [UNREADABLE]
    (unrelayed,) = Outbox.unrelayed(shop.database)
    assert unrelayed[:2] + unrelayed[3:] == (shop.app.name, 1, 1)
    assert 0 <= unrelayed.age < 60


def test_large_jobs_are_sent_in_smaller_batches(shop: Shop) -> None:
    outbox = Outbox(shop.database, shop.app.name)
    with shop.database.writing() as connection:
        for n in range(5):
            push = packed(Push(f"large-{n}", "default", 5, b"x" * 100_000))
            connection.execute(sa.insert(TABLES.outbox).values(app=shop.app.name, push=push))
    sizes = []
    while (batch := outbox.take()) is not None:
        again = outbox.take()
        assert again is not None
        assert again.name == batch.name
        sizes.append(len(batch.pushes))
        outbox.delete(batch)
    assert sizes == [2, 2, 1]


def test_apps_in_one_database_keep_apart(shop: Shop) -> None:
    commit(shop, 1)
    other = Outbox(shop.database, "other")
    assert other.is_empty()
    assert other.take() is None


# ---- what the broker remembers


async def test_a_batch_is_remembered_for_seven_days_a_client_for_an_hour(redis_url: str, app_name: str) -> None:
    broker = connect(redis_url, app_name)
    push = Push("a", "default", 5, b"sealed", custom=True)
    await broker.push("outbox.0a", 1, [push])
    await broker.push("another", 1, [push])
    found = {}
    for client in ("outbox.0a", "another"):
        found[client] = await _ttl(broker, app_name, client)
    assert CLIENT_TTL < OUTBOX_TTL - 60 < found["outbox.0a"] <= OUTBOX_TTL
    assert found["another"] <= CLIENT_TTL

    await broker.push("outbox.0a", 2, [])
    assert 0 < await _ttl(broker, app_name, "outbox.0a") <= CLIENT_TTL, "its jobs are deleted from the outbox"
    assert await broker.push("outbox.0a", 1, [push]) is None
    [queue] = await inspect(broker).queues()
    assert queue.pending == 1, "a relay that was late has sent it once more"
    await broker.close()


async def test_names_of_batches_do_not_pile_up_for_days(shop: Shop, redis_url: str) -> None:
    commit(shop, 1, 2)
    await all_run(shop, 2)
    connection = redis.asyncio.from_url(redis_url)

    async def brief() -> bool:
        ttls = [await connection.ttl(key) async for key in connection.scan_iter(f"*{shop.app.name}*client:outbox.*")]
        return bool(ttls) and max(ttls) <= CLIENT_TTL

    await wait_until_async(brief, description="what was relayed is remembered as any client")
    await connection.aclose()


async def _ttl(broker: Broker, app: str, client: str) -> int:
    connection = redis.asyncio.from_url(broker.url)
    keys = [key async for key in connection.scan_iter(f"*{app}*client:{client}")]
    (ttl,) = [await connection.ttl(key) for key in keys]
    await connection.aclose()
    return int(ttl)


def test_a_relay_without_its_driver_says_so_and_leaves_the_keeper_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        broker = connect("memory://", "shop")

        def broken() -> Database:
            raise ConfigError("App(database=…) needs SQLAlchemy 2")

        relay = Relay(broker, "shop", broken)
        running = asyncio.create_task(relay.run())
        await wait_until_async(lambda: "needs SQLAlchemy" in caplog.text, description="the relay has said so")
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await relay.close()

    asyncio.run(run())
