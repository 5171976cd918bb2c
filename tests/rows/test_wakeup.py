"""What ends a wait early: also after the connection that listens was lost, and never at the cost of the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from aiotask.brokers.sql import wake
from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.wake import CHANNEL, Wakeup

from ..helpers import wait_until_async
from .test_lost_connections import break_all


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


async def test_a_connection_that_was_lost_is_listened_to_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "AGAIN", 0.0)
    wakeup, other = Wakeup(Database(postgres_url), in_thread), Database(postgres_url)

    async def hears() -> bool:
        wakeup.forget()
        waiting = asyncio.create_task(wakeup.wait(20))
        await asyncio.sleep(0)
        with other.writing() as connection:
            connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "table")))
        return await waiting

    assert await wakeup.wait(20), "what was committed before is not heard"
    assert await hears()
    other.dispose()
    break_all(postgres_url)
    await wait_until_async(lambda: wakeup._listening is None, description="the loss is noticed")
    wakeup.forget()
    assert await wakeup.wait(20), "it listens again"
    assert await hears()
    wakeup.close()


def test_a_writer_of_a_file_without_wal_does_not_stop_the_loop(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
    database.dispose()
    path = str(database.engine.url.database)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=DELETE")
    wakeup = Wakeup(database, in_thread)
    wakeup.mark()
    before = wakeup._version
    writer.execute("BEGIN EXCLUSIVE")
    assert wakeup._look() == before
    assert wakeup._glancing is not None
    assert wakeup._glancing.execute("PRAGMA busy_timeout").fetchone() == (0,)
    writer.execute("INSERT INTO notes VALUES (1)")
    writer.execute("COMMIT")
    assert wakeup._look() != before
    wakeup.close()
    writer.close()
