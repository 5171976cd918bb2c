"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..workers import Workers
from .stage import Stage, staged


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    """Puts an app module on stage for one test: ``stage("calls")``."""
    with ExitStack() as stack:
        yield lambda module: stack.enter_context(staged(module, workers, tmp_path / f"ledger-{module}"))
