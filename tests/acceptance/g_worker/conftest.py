"""Worker processes that run the nodes of graphs, and what a test asks of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import Graphs

from ...workers import Workers
from ..stage import Stage, staged


@pytest.fixture
def nodes(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    """No worker runs yet."""
    with staged("nodes", workers, tmp_path / "ledger") as stage:
        yield stage


@pytest.fixture
async def graphs(nodes: Stage) -> AsyncIterator[Graphs]:
    """The broker of the app, beside that of its workers."""
    broker = connect(nodes.app.url, nodes.app.name)
    await broker.open()
    yield graphs_of(broker)
    await broker.close()
