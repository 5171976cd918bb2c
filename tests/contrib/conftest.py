"""Fixtures of the tests of integrations with web frameworks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.brokers.sql import database

from ..postgres import database_url as database_url
from ..postgres import postgres_server as postgres_server
from ..postgres import postgres_url as postgres_url
from ..postgres import sqlite_url as sqlite_url
from ..workers import Workers
from .project import Project


@pytest.fixture(autouse=True)
def _no_open_connections() -> Iterator[None]:
    """Close the connections that a test leaves: drivers warn about those that are collected."""
    yield
    for each in list(database._databases):
        each.dispose()


@pytest.fixture
def project(tmp_path: Path, workers: Workers) -> Project:
    """An empty folder, in which programs of a test run."""
    return Project(tmp_path / "project", workers)
