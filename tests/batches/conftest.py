"""An app with one batch task, for workers inside this process, on each broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from aiotask import App, JobContext, current_job

TIMEOUT = 60

Make = Callable[..., App]


@pytest.fixture
async def make(broker_url: str, app_name: str) -> AsyncIterator[Make]:
    """Makes the app of the test."""
    made: list[App] = []

    def make(**options: Any) -> App:
        made.append(App(app_name, url=broker_url, **options))
        return made[-1]

    yield make
    for app in made:
        await app.client.close()


@pytest.fixture(params=["async", "sync"])
def app(request: pytest.FixtureRequest, make: Make) -> Lists:
    return Lists(make(), is_async=request.param == "async")


class Lists:
    """An app with one batch task, of either kind, which notes the lists with which it is called."""

    def __init__(self, app: App, *, is_async: bool) -> None:
        self.app = app
        self.is_async = is_async
        self.lists: list[list[Any]] = []
        self.contexts: list[JobContext] = []
        self.gate = threading.Event()
        self.gate.set()

    def task(self, judge: Callable[[list[Any]], Any] = list, **options: Any) -> Any:
        """A batch task that returns what ``judge`` makes of its list."""

        def note(items: list[Any]) -> None:
            self.lists.append(items)
            self.contexts.append(current_job())

        async def many_async(items: list[Any]) -> Any:
            note(items)
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
            return judge(items)

        def many_sync(items: list[Any]) -> Any:
            note(items)
            self.gate.wait(TIMEOUT)
            return judge(items)

        return self.app.register_task(many_async if self.is_async else many_sync, name="many", **options)

    def worker(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        return self.app.worker(**options)
