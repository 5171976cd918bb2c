"""The environment in which every command of these tests runs, and an app with jobs to look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..server import PrivateServer
from .shop import Shop


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, and a state directory of this test alone."""
    for name in [name for name in os.environ if name.startswith("AIOTASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIOTASK_HOME", str(tmp_path / "home"))
    # Wide enough that no word of a help text is cut.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str) -> Shop:
    """Two pending jobs and one that is due in an hour."""
    made = Shop(own_server.url, app_name)
    async with made.app:
        sent = [made.render.apply_async(7), made.render.apply_async(8)]
        sent.append(made.render.options(delay=3600.0).apply_async(9, text="[bold]no markup[/bold]"))
        for result in sent:
            await result.sent()
    return made
