"""A stage for jobs whose workers die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..acceptance.stage import Stage, staged
from ..workers import Workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage
