"""A shop with a database and a task, for tests of jobs that are sent in its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from .shop import ENGINES, Shop


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
