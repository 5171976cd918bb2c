"""A stage for jobs, and a source of an app whose code changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App

from ..acceptance.stage import Stage, staged
from ..workers import Workers
from .source import Source


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage


@pytest.fixture
def source(tmp_path: Path, app_name: str) -> Source:
    return Source(tmp_path / "source", app_name)


@pytest.fixture
def app(app_name: str, redis_url: str) -> App:
    return App(app_name, url=redis_url)
