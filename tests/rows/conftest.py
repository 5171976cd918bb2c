"""Fixtures for tests over a SQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotask.brokers.sql.broker import RowBroker

from .shop import Shop, enlisted


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
