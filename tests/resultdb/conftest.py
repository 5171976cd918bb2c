"""A recorder that wrote the history, and a database that reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiotask import App, ResultDB, Status
from aiotask.history.recorder import Recorder
from aiotask.outcome import ErrorInfo

from ..history import SECRET, START, TASK, finished


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by itself" / "results.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    with Recorder(path, [SECRET], "shop", timeout=0.1) as recorder:
        yield recorder


@pytest.fixture
def app() -> App:
    return App("shop", url="memory://", secret=SECRET)


@pytest.fixture
async def db(path: Path, app: App) -> AsyncIterator[ResultDB]:
    async with ResultDB(path, app=app) as db:
        yield db


@pytest.fixture
async def many(recorder: Recorder, db: ResultDB) -> ResultDB:
    """100 jobs, one a second; every fourth failed, every fifth is of another task and queue."""
    error = ErrorInfo("builtins.ValueError", "no")
    recorder.record(
        [
            finished(
                f"{number:03}",
                number,
                finished_at=START + number,
                status=Status.SUCCESS if number % 4 else Status.FAILED,
                error=None if number % 4 else error,
                task=TASK if number % 5 else "shop.tasks:mail",
                queue="default" if number % 5 else "mail",
            )
            for number in range(100)
        ]
    )
    return db


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.db"
    path.touch()
    return path
