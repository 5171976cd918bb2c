"""Hints that a row may be ready, when waits are cancelled and services end around the connections that hear them."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.wake import CHANNEL, Wakeup

from ..helpers import wait_until_async
from ..postgres import PostgresServer


class _Thread:
    """Calls what a Wakeup asks for in a thread, each time once the test says so."""

    def __init__(self) -> None:
        self.asked, self.go, self.done = threading.Event(), threading.Event(), threading.Event()

    async def do(self, call: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(self._call, call)

    def _call(self, call: Callable[[], Any]) -> Any:
        self.asked.set()
        assert self.go.wait(30)
        try:
            return call()
        finally:
            self.done.set()


async def _cancelled_while_it_connects(wakeup: Wakeup, thread: _Thread) -> None:
    waiting = asyncio.create_task(wakeup.wait(60))
    await asyncio.to_thread(thread.asked.wait, 30)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_wait_that_is_cancelled_while_it_connects_leaves_no_connection(postgres_url: str) -> None:
    database, thread = Database(postgres_url), _Thread()
    wakeup = Wakeup(database, thread.do)
    await _cancelled_while_it_connects(wakeup, thread)
    wakeup.close()
    thread.go.set()
    await asyncio.to_thread(thread.done.wait, 30)
    gc.collect()  # the driver warns of a connection that was not closed, and a warning is an error here
    database.dispose()


async def test_the_next_wait_hears_on_the_connection_of_one_that_was_cancelled(postgres_url: str) -> None:
    database, thread = Database(postgres_url), _Thread()
    wakeup = Wakeup(database, thread.do)
    await _cancelled_while_it_connects(wakeup, thread)
    thread.go.set()
    await asyncio.to_thread(thread.done.wait, 30)
    assert await wakeup.wait(30), "what was committed before is looked for"
    wakeup.forget()

    def notify() -> None:
        with database.writing() as connection:
            connection.execute(sa.text(f"NOTIFY {CHANNEL}"))

    hearing = asyncio.create_task(wakeup.wait(60))
    await asyncio.to_thread(notify)
    await wait_until_async(hearing.done, description="the notification is heard")
    assert await hearing
    wakeup.close()
    database.dispose()


async def test_a_wait_while_the_server_is_away_hears_nothing(own_postgres: PostgresServer) -> None:
    database = Database(own_postgres.create())
    wakeup = Wakeup(database, asyncio.to_thread)
    with database.reading() as connection:
        connection.execute(sa.select(1))
    own_postgres.stop(signal.SIGQUIT)
    assert not await wakeup.wait(0.05)
    wakeup.close()


CLOSE_IN_THE_MIDDLE = """
import sys, threading
from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.wake import Wakeup

async def nothing(call): ...

database = Database(sys.argv[1])
with database.writing() as connection:
    connection.exec_driver_sql("CREATE TABLE book (id INTEGER PRIMARY KEY)")
for _ in range(300):
    wakeup, is_marking = Wakeup(database, nothing), threading.Event()

    def mark():
        for _ in range(200):
            wakeup.mark()
            is_marking.set()

    thread = threading.Thread(target=mark)
    thread.start()
    is_marking.wait()
    wakeup.close()
    thread.join()
    assert wakeup._glancing is None, "nothing is opened after the end"
"""


def test_a_service_that_ends_while_its_thread_looks_at_an_sqlite_file_ends_well(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    ended = subprocess.run(
        [sys.executable, "-c", CLOSE_IN_THE_MIDDLE, url], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
