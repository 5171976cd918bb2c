"""What tests of ``aiotask top`` need: textual, and an app with jobs of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..server import PrivateServer
from ..web.site import Populated, populate


@pytest.fixture(autouse=True)
def textual() -> None:
    if find_spec("textual") is None:
        pytest.skip("textual is not installed: pip install 'aiotask[top]'")


@pytest.fixture
async def populated(own_server: PrivateServer, app_name: str, tmp_path: Path) -> AsyncIterator[Populated]:
    """An app with jobs of every status, dead letters, a graph, schedules, limits, pauses and a history."""
    async with populate(own_server.url, app_name, tmp_path / "history.db") as made:
        yield made
