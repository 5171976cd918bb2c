"""Fixtures for rows in worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..postgres import programs
from ..workers import Workers, running_workers
from .stage import RowStage

SAME_SERVICE = pytest.mark.full_only("processes serve SQLite as they do PostgreSQL; tests/rows takes both")


@pytest.fixture(params=[pytest.param("sqlite", marks=SAME_SERVICE if programs() else ()), "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: on PostgreSQL, if its programs are here; on both with --full."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def row_workers(tmp_path: Path, worker_logs: None) -> Iterator[Workers]:
    """Supervisors of one test; no server is started for it."""
    with running_workers(tmp_path / "workers", "redis://127.0.0.1:1/0") as all_of_them:
        yield all_of_them


@pytest.fixture
def rows(database_url: str, row_workers: Workers, tmp_path: Path) -> RowStage:
    """An app with rows alone, on SQLite and on PostgreSQL."""
    return RowStage(database_url, row_workers, tmp_path / "runs")


@pytest.fixture
def both(database_url: str, row_workers: Workers, redis_url: str, tmp_path: Path) -> RowStage:
    """An app with rows and tasks."""
    return RowStage(database_url, row_workers, tmp_path / "runs", redis_url)
