"""Streams whose job is lost while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotask import App, JobLost, Stream
from aiotask.tasks.task import task_of

from ..helpers import wait_until_async
from ..server import PrivateServer
from .shop import make_app


def endless(app: App, name: str, path: Path) -> Stream[int]:
    definition = app.registry.get(name)
    assert definition is not None
    stream = task_of(definition, app).apply_async(str(path))
    assert isinstance(stream, Stream)
    return stream


async def test_a_stream_goes_on_when_its_worker_has_to_register_again(own_server: PrivateServer) -> None:
    app = make_app(own_server.url, "lost")
    definition = app.registry.get("numbers")
    assert definition is not None
    async with app.worker():
        stream = task_of(definition, app).apply_async(300, pause=0.01)
        assert isinstance(stream, Stream)
        numbers = []
        async for number in stream:
            numbers.append(number)
            if number == 1:
                own_server.call("DEL", "aiotask1:{lost}:live")
        await app.client.close()
    assert numbers == list(range(1, 301))


@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_a_generator_ends_when_the_server_was_emptied(
    own_server: PrivateServer, tmp_path: Path, name: str
) -> None:
    app = make_app(own_server.url, "lost")
    async with app.worker():
        items = endless(app, name, tmp_path).items()
        await anext(items)

        own_server.call("FLUSHALL")
        with pytest.raises(JobLost):
            async for _ in items:
                pass

        await wait_until_async((tmp_path / "closed").exists, description="the generator's finally runs")
        await app.client.close()
