"""The hostile tasks, and one worker process that survives them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..acceptance.stage import Stage, prepared
from ..workers import Supervisor, running_workers


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.fixture(scope="module")
def hostile_worker(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Supervisor]]:
    """The hostile tasks, with one worker process that all these tests share and none may end."""
    directory = tmp_path_factory.mktemp("hostile")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("hostile", workers, directory / "ledger")
        # The traceback of a job is none of the worker itself.
        yield stage, stage.start(1, "--no-log-tracebacks")


@pytest.fixture
def hostile(hostile_worker: tuple[Stage, Supervisor]) -> Iterator[Stage]:
    """The same process has to be there in the end, and must not have been surprised."""
    stage, supervisor = hostile_worker
    seen = len(supervisor.log)
    before = {child.pid for child in supervisor.children()}
    with stage.active():
        yield stage
    assert {child.pid for child in supervisor.children()} == before
    assert "Traceback" not in supervisor.log[seen:], supervisor.log[seen:]
