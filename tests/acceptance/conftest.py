"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..workers import Workers, running_workers
from .stage import Stage, prepared, staged


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    """Puts an app module on stage for one test: ``stage("calls")``."""
    with ExitStack() as stack:
        yield lambda module: stack.enter_context(staged(module, workers, tmp_path / f"ledger-{module}"))


@pytest.fixture(scope="module")
def between_service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("between")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("between", workers, directory / "ledger")
        stage.start(2)
        yield stage


@pytest.fixture
def between(between_service: Stage) -> Iterator[Stage]:
    """Two worker processes of an app with middleware, shared by the tests of a file."""
    with between_service.active():
        yield between_service
