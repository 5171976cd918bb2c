"""Fixtures for tests over a SQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from aiotask.brokers.sql import database
from aiotask.brokers.sql.broker import RowBroker

from ..postgres import database_url as database_url
from ..postgres import postgres_server as postgres_server
from ..postgres import postgres_url as postgres_url
from ..postgres import sqlite_url as sqlite_url
from .shop import Shop, enlisted


@pytest.fixture(autouse=True)
def _no_open_connections() -> Iterator[None]:
    """Close the connections that a test leaves: drivers warn about those that are collected."""
    yield
    for each in list(database._databases):
        each.dispose()


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    shop = Shop(database_url)
    yield shop
    await shop.close()


@pytest.fixture
async def worker(shop: Shop) -> RowBroker:
    return await enlisted(shop, "host.1")


@pytest.fixture
async def keeper(shop: Shop) -> RowBroker:
    return shop.keeper()
