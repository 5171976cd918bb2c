"""Callers of graphs, beside real worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ...workers import running_workers
from ..stage import Stage, prepared


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("composed")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("composed", workers, directory / "ledger")
        stage.start(2)
        yield stage


@pytest.fixture
def composed(shared: Stage) -> Iterator[Stage]:
    """The tasks of ``apps/composed.py``, and two worker processes for them."""
    for file in shared.ledger.directory.iterdir():
        file.unlink()
    with shared.active():
        yield shared
