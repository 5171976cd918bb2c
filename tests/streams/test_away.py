"""The server is away as a reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aiotask.tasks.task import task_of

from ..helpers import wait_until_async
from ..server import PrivateServer
from .shop import make_app


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    """What it has acknowledged survives its death."""
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        yield server
    finally:
        server.remove()


async def test_a_job_ends_although_its_reader_left_while_the_server_was_away(
    server: PrivateServer, app_name: str, tmp_path: Path
) -> None:
    app = make_app(server.url, app_name)
    definition = app.registry.get("endless")
    assert definition is not None
    async with app, app.worker():
        stream: Any = task_of(definition, app).apply_async(str(tmp_path))
        items = aiter(stream)
        assert await anext(items) == 1
        await asyncio.to_thread(server.kill)
        leaving = asyncio.ensure_future(cast("Any", items).aclose())
        await asyncio.to_thread(server.start)
        await leaving

        await wait_until_async((tmp_path / "closed").exists, description="the generator's finally runs")


async def test_a_goodbye_ends_with_its_session(server: PrivateServer, app_name: str, tmp_path: Path) -> None:
    app = make_app(server.url, app_name)
    definition = app.registry.get("endless")
    assert definition is not None
    async with app:
        stream: Any = task_of(definition, app).apply_async(str(tmp_path))
        first = asyncio.ensure_future(anext(aiter(stream)))
        await stream.sent()
        goodbyes = app.client.session().goodbyes
        await asyncio.to_thread(server.kill)
        first.cancel()
        await wait_until_async(lambda: len(goodbyes) == 1, description="the reader leaves")

    # The server is still away. What went on trying would open a connection that nothing closes.
    assert not goodbyes
