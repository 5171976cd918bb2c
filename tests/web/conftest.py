"""Dashboards that are asked over ASGI, and an app with jobs of every kind behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..server import PrivateServer
from .site import Populated, populate


@pytest.fixture
async def populated(own_server: PrivateServer, app_name: str, tmp_path: Path) -> AsyncIterator[Populated]:
    """An app with jobs of every status, dead letters, a graph, schedules, limits, pauses and a history."""
    async with populate(own_server.url, app_name, tmp_path / "history.db") as made:
        yield made
