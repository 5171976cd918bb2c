"""Fixtures of the tests of integrations with web frameworks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..postgres import programs
from ..workers import Workers
from .project import Project

SAME_SITE = pytest.mark.full_only("sites use SQLite as they do PostgreSQL; tests/outbox and tests/rows take both")


@pytest.fixture(params=[pytest.param("sqlite", marks=SAME_SITE if programs() else ()), "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: on PostgreSQL, if its programs are here; on both with --full."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def project(tmp_path: Path, workers: Workers, _no_open_connections: None) -> Project:
    """An empty folder, in which programs of a test run."""
    return Project(tmp_path / "project", workers)
