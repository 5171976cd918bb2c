"""An app on every broker, and a worker for it in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotask import App

from .sums import make_app


@pytest.fixture
def app(broker_url: str, app_name: str) -> App:
    return make_app(broker_url, app_name)


@pytest.fixture
async def worker(app: App) -> AsyncIterator[None]:
    async with app.worker():
        yield
        await app.client.close()
