"""Unique jobs in a transaction: the broker decides when the job is relayed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from aiotask import JobExists, gather
from aiotask.values.unique import is_unique

from .shop import Shop


@pytest.fixture
def connection(sqlite_shop: Shop) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(sqlite_shop.driver_url)) as opened:
        yield opened


async def test_handles_follow_the_job_that_the_relay_has_sent(
    sqlite_shop: Shop, connection: sqlite3.Connection
) -> None:
    shop = sqlite_shop
    note = shop.note.options(key="k", unique="unfinished")
    replacing = note.options(delay=0.3, unique="pending", on_conflict="replace")
    with shop.app.in_transaction(connection):
        same = [note.apply_async(1), note.apply_async(2)]
        refused = note.options(on_conflict="error").apply_async(3)
        last = [replacing.options(key="other").apply_async(n) for n in (4, 5)]
    connection.commit()
    async with shop.app, shop.app.worker():
        assert await gather(same) == [10, 10]
        assert same[0].id == same[1].id and is_unique(same[0].id)
        assert await gather(last) == [50, 50]
        with pytest.raises(JobExists):
            await refused
    assert sorted(shop.ran) == [1, 5]
