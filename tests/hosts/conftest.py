"""A stage whose hosts are steered, and an operator who does so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..acceptance.stage import staged
from ..workers import Workers
from .operator import Operated


@pytest.fixture
def operated(workers: Workers, tmp_path: Path) -> Iterator[Operated]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield Operated(stage)
