"""An app to act on: its jobs, its host, and what can be seen of them afterwards."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from aiotask import App
from aiotask.broker import Broker
from aiotask.brokers import inspect
from aiotask.job import Status
from aiotask.ops.actions import Actions
from aiotask.ops.audit import read_audit
from aiotask.ops.connection import Place
from aiotask.ops.visitors import Visitor

from .seam import Worker, sealed_outcome

__all__ = ["World", "render_tile"]


def render_tile(tile: int) -> int:
    return tile


class World:
    """An app with jobs of every kind, and what can be seen of it afterwards."""

    def __init__(self, url: str, name: str, broker: Broker) -> None:
        self.place = Place(name, url)
        self.app = App(name, url=url)
        self.broker = broker
        self.inspector = inspect(broker)
        self.stack = AsyncExitStack()
        self.render = self.app.register_task(render_tile, name="shop:render", queue="tiles")

    def by(self, *may: str) -> Actions:
        return Actions(self.place, Visitor("ada", frozenset(may), "10.0.0.7"))

    async def send(self, **options: Any) -> str:
        result = self.render.options(**options).apply_async(7)
        await result.sent()
        return result.id

    async def dead(self) -> str:
        """A dead letter."""
        id = await self.send()
        worker = await Worker(self.broker, "host-1.1", ["tiles"]).enlist()
        claim = await worker.claim()
        found = next(each for each in claim.deliveries if each.id == id)
        outcome = sealed_outcome(id, Status.FAILED)
        await worker.finish(found, outcome=outcome, status=Status.FAILED, result_ttl=60.0, dead=True)
        return id

    async def status(self, id: str) -> Status | None:
        found = await self.inspector.job(id)
        return found.status if found is not None else None

    async def lines(self) -> list[dict[str, Any]]:
        return await read_audit(self.place, 100)
