"""Handles on jobs of a transaction: refused until the commit, then those of any job."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy.orm import Session

import aiotask
from aiotask import Status
from aiotask.errors import ConfigError, NotSent, ResultExpired, ResultTimeout

from .shop import Shop

CALLS: dict[str, Callable[[Any], Any]] = {
    "await": lambda result: result.wait(),
    "with a limit": lambda result: result.wait(5),
    "sent": lambda result: result.sent(),
    "status": lambda result: result.status(),
    "cancel": lambda result: result.cancel(),
    "forget": lambda result: result.forget(),
    "graph": lambda result: result.graph(),
    "children": lambda result: result.children(),
    "gather": lambda result: aiotask.gather([result]),
}


@pytest.mark.parametrize("call", CALLS)
async def test_nothing_can_be_asked_before_the_commit_or_after_a_rollback(shop: Shop, call: str) -> None:
    async with shop.app:
        with Session(shop.database.engine) as session:
            with shop.app.in_transaction(session):
                result = shop.note.apply_async(1)
                with pytest.raises(NotSent, match="still open") as caught:
                    await CALLS[call](result)
            assert caught.value.job_id == result.id
            session.flush()
            with pytest.raises(NotSent, match="still open"):
                await CALLS[call](result)
            session.rollback()
            with pytest.raises(NotSent, match="rolled back"):
                await CALLS[call](result)


def test_a_thread_is_refused_likewise(shop: Shop) -> None:
    with Session(shop.database.engine) as session:
        with shop.app.in_transaction(session):
            result = shop.note.apply_async(1)
        for call in (result.get, result.blocking.sent, result.blocking.status, result.blocking.cancel):
            with pytest.raises(NotSent, match="still open"):
                call()


async def test_after_the_commit_it_is_a_job_like_any(shop: Shop) -> None:
    async with shop.app, shop.app.worker():
        with Session(shop.database.engine) as session:
            with shop.app.in_transaction(session):
                results = [shop.note.apply_async(n) for n in range(5)]
            session.commit()
        await results[0].sent()
        assert await results[0] == 0
        assert await aiotask.gather(results) == [0, 10, 20, 30, 40]
        assert await results[1].status() is Status.SUCCESS
        assert await results[1].cancel() is aiotask.broker.Cancelled.FINISHED
        assert await shop.app.result(results[2].id) == 20
        assert await results[3].forget() is True


async def test_gather_tells_what_was_sent_from_what_was_not(shop: Shop) -> None:
    async with shop.app, shop.app.worker():
        with Session(shop.database.engine) as session:
            with shop.app.in_transaction(session):
                first = shop.note.apply_async(1)
                with pytest.raises(RuntimeError), session.begin_nested():
                    second = shop.note.apply_async(2)
                    raise RuntimeError
            session.commit()
        one, two = await aiotask.gather([first, second], return_exceptions=True)
        assert one == 10
        assert isinstance(two, NotSent)
        with pytest.raises(NotSent):
            await aiotask.gather([first, second])


async def test_without_a_relay_waits_end_in_time_and_name_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotask.sql.handles.RELAY_TIMEOUT", 0.1)
    async with shop.app:
        with Session(shop.database.engine) as session:
            with shop.app.in_transaction(session):
                result = shop.note.apply_async(1)
            session.commit()
        for timeout in (0, 0.1):
            with pytest.raises(ResultTimeout, match="keeper"):
                await result.wait(timeout)
        with pytest.raises(NotSent, match="keeper"):
            await result.status()
        waiting = asyncio.ensure_future(result.wait())
        async with shop.app.worker():
            assert await waiting == 10


@pytest.mark.parametrize("driver", ["sqlite3", "psycopg"])
async def test_what_has_ended_is_not_taken_for_what_was_rolled_back(
    request: pytest.FixtureRequest, driver: str
) -> None:
    shop: Shop = request.getfixturevalue("sqlite_shop" if driver == "sqlite3" else "postgres_shop")
    connect: Any = sqlite3.connect if driver == "sqlite3" else psycopg.connect
    async with shop.app, shop.app.worker():
        with closing(connect(shop.driver_url)) as connection:
            with shop.app.in_transaction(connection):
                kept, dropped = shop.note.apply_async(1), shop.note.options(result_ttl=0).apply_async(2)
            connection.commit()
            assert await kept == 10
            # Another transaction is open on the connection now.
            connection.execute("INSERT INTO orders (id) VALUES (1)")
            assert await kept.status() is Status.SUCCESS
            other = shop.app.result(kept.id)
            assert await other == 10
            await asyncio.to_thread(aiotask_waits, shop)
            if driver == "psycopg":
                # Its transaction is known to have committed, though the broker knows no job.
                await dropped.sent()
                with pytest.raises(ResultExpired):
                    await dropped.status()
            else:
                with pytest.raises(NotSent):
                    await dropped.status()


def aiotask_waits(shop: Shop) -> None:
    from ..helpers import wait_until

    wait_until(lambda: sorted(shop.ran) == [1, 2] and not shop.waiting(), description="both jobs have run")


async def test_a_job_whose_result_is_ignored(shop: Shop) -> None:
    async with shop.app, shop.app.worker():
        with Session(shop.database.engine) as session:
            with shop.app.in_transaction(session):
                result = shop.note.options(ignore_result=True).apply_async(1)
            session.commit()
        await result.sent()
        with pytest.raises(ResultExpired, match="ignore_result"):
            await result


async def test_a_handle_is_no_argument_before_the_commit(shop: Shop) -> None:
    with Session(shop.database.engine) as session, shop.app.in_transaction(session):
        result = shop.note.apply_async(1)
        with pytest.raises((ConfigError, aiotask.SerializationError)):
            shop.note.apply_async(result)  # type: ignore[arg-type]
    await shop.app.client.close()
