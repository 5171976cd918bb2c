"""An app whose jobs send others, for tests of what becomes of these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import aiotask
from aiotask import App, Status, current_job

from .helpers import wait_until_async

__all__ = ["Child", "Stage", "squares", "stage"]

Child = Callable[[int], "aiotask.AsyncResult[int]"]


class Stage:
    """An app whose children wait in a queue of their own until a worker of that queue is there."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.ran: list[Any] = []
        self.begun: list[Any] = []

        @app.task(queue="children")
        async def child(n: int) -> int:
            self.ran.append(n)
            return n * n

        self.child = child

    def parent(self, function: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        """A task of this app that notes each of its runs."""

        async def parent() -> Any:
            self.begun.append(current_job().attempt)
            return await function()

        return self.app.task(name="shop:parent", **options)(parent)

    async def interrupted(self, parent: Any, children: int, **options: Any) -> aiotask.AsyncResult[Any]:
        """A job that was given back once it waited for this number of children, none of which has run."""
        result: aiotask.AsyncResult[Any] = parent.apply_async()
        async with self.app.worker(queues=["default"], **options):
            await self.wait_for_children(children)
        assert await result.status() is Status.PENDING
        return result

    async def wait_for_children(self, count: int) -> None:
        async def there() -> bool:
            async with self.app.inspector() as inspector:
                return sum(q.pending for q in await inspector.queues() if q.name == "children") == count

        await wait_until_async(there, description=f"{count} children wait")

    async def value(self, result: aiotask.AsyncResult[Any]) -> Any:
        async with self.app.worker(queues=["default", "children"]):
            return await result


@pytest.fixture
async def stage(broker_url: str, app_name: str) -> AsyncIterator[Stage]:
    app = App(app_name, url=broker_url)
    async with app:
        yield Stage(app)


async def squares(child: Child) -> list[int]:
    """Those of 0, 1, 2, each by a child."""
    return await aiotask.gather([child(n) for n in range(3)])
