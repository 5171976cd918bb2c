"""Fixtures for rows in worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.brokers.sql import database

from ..postgres import PostgresServer, programs
from ..postgres import database_url as database_url
from ..postgres import postgres_server as postgres_server
from ..postgres import postgres_url as postgres_url
from ..postgres import sqlite_url as sqlite_url
from ..workers import Workers, running_workers
from .stage import RowStage


@pytest.fixture
def row_workers(tmp_path: Path, worker_logs: None) -> Iterator[Workers]:
    """Supervisors of one test; no server is started for it."""
    with running_workers(tmp_path / "workers", "redis://127.0.0.1:1/0") as all_of_them:
        yield all_of_them


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL of this test alone, to be stopped at will."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed on this machine (initdb)")
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def rows(database_url: str, row_workers: Workers, tmp_path: Path) -> RowStage:
    """An app with rows alone, on SQLite and on PostgreSQL."""
    return RowStage(database_url, row_workers, tmp_path / "runs")


@pytest.fixture
def both(database_url: str, row_workers: Workers, redis_url: str, tmp_path: Path) -> RowStage:
    """An app with rows and tasks."""
    return RowStage(database_url, row_workers, tmp_path / "runs", redis_url)


@pytest.fixture(autouse=True)
def _no_open_connections() -> Iterator[None]:
    """Close the connections that a test leaves: drivers warn about those that are collected."""
    yield
    for each in list(database._databases):
        each.dispose()
