"""An app on every broker that keeps streams, and a worker for it in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiotask import App

from .shop import make_app


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def app(broker_url: str, app_name: str) -> App:
    return make_app(broker_url, app_name)


@pytest.fixture
async def worker(app: App) -> AsyncIterator[None]:
    async with app.worker():
        yield
        await app.client.close()


@pytest.fixture
def task(app: App) -> Any:
    """Returns the task of a name."""
    from aiotask.tasks.task import task_of

    def named(name: str) -> Any:
        definition = app.registry.get(name)
        assert definition is not None
        return task_of(definition, app)

    return named
