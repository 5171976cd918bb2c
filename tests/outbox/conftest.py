"""A shop with a database and a task, for tests of jobs that are sent in its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aiotask.brokers.sql import database

from ..postgres import database_url as database_url
from ..postgres import postgres_server as postgres_server
from ..postgres import postgres_url as postgres_url
from ..postgres import sqlite_url as sqlite_url
from .shop import ENGINES, Shop


@pytest.fixture(autouse=True)
def _no_open_connections() -> Iterator[None]:
    """Close the connections that a test leaves: drivers warn about those that are collected."""
    yield
    for each in list(database._databases):
        each.dispose()


@pytest.fixture
def shop(database_url: str, app_name: str) -> Shop:
    """Once per kind of database."""
    return Shop(database_url, app_name)


@pytest.fixture
def sqlite_shop(sqlite_url: str, app_name: str) -> Shop:
    return Shop(sqlite_url, app_name)


@pytest.fixture
def postgres_shop(postgres_url: str, app_name: str) -> Shop:
    return Shop(postgres_url, app_name)


@pytest.fixture
def make_engine() -> Iterator[Callable[[str, str], sa.Engine]]:
    """Makes engines of a user's, each of which begins transactions in its own way; closed after the test."""
    made: list[sa.Engine] = []

    def make(kind: str, url: str) -> sa.Engine:
        made.append(ENGINES[kind](url))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
