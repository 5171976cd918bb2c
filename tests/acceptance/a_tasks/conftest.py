"""The app of ordinary calls, with worker processes that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ...workers import running_workers
from ..stage import Stage, prepared


@pytest.fixture(scope="package")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Stage]]:
    """The app of ordinary calls, once with two worker processes and once with one, for tests that harm no process."""
    directory = tmp_path_factory.mktemp("calls")
    with running_workers(directory, redis_url) as workers:
        stages = {count: prepared("calls", workers, directory / f"ledger-{count}") for count in (2, 1)}
        started = [stage.start(count, wait=False) for count, stage in stages.items()]
        for supervisor in started:
            supervisor.wait_for_banner()
        yield stages


@pytest.fixture
def calls(shared: dict[int, Stage]) -> Iterator[Stage]:
    """Two worker processes."""
    with shared[2].active():
        yield shared[2]


@pytest.fixture
def alone(shared: dict[int, Stage]) -> Iterator[Stage]:
    """One worker process."""
    with shared[1].active():
        yield shared[1]
