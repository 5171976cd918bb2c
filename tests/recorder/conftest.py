"""A recorder, and a reader of its file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiotask import ResultDB
from aiotask.history.recorder import Recorder

from ..history import SECRET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by itself" / "results.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    with Recorder(path, [SECRET], "shop", timeout=0.1) as recorder:
        yield recorder


@pytest.fixture
async def db(path: Path) -> AsyncIterator[ResultDB]:
    async with ResultDB(path) as db:
        yield db
