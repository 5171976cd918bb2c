"""An app to act on: its jobs, its host, and what can be seen of them afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from aiotask import App
from aiotask.broker import Broker
from aiotask.brokers import connect, inspect
from aiotask.job import Status
from aiotask.ops import ask
from aiotask.ops.actions import Actions
from aiotask.ops.audit import read_audit
from aiotask.ops.connection import Place, inspectors
from aiotask.ops.visitors import Visitor

from .helpers import wait_until_async
from .seam import Worker, sealed_outcome

__all__ = ["World", "a_drained_host", "a_host", "render_tile", "steer", "world"]


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


async def a_host(world: World) -> str:
    worker = await world.stack.enter_async_context(world.app.worker())
    host = worker.name.rpartition(".")[0]

    async def is_live() -> bool:
        return host in await world.broker.leases()

    await wait_until_async(is_live, description="the host is live")
    return host


async def a_drained_host(world: World) -> str:
    host = await a_host(world)
    assert await steer(world, host, "drain")
    return host


async def steer(world: World, host: str, verb: str) -> bool:
    async with inspectors(world.place) as opened:
        hosts = await ask.live_hosts(Place(opened=tuple(opened)), host)
        [done] = await ask.steer_hosts(hosts, verb, "test")
    return bool(done["did"] == "done")


@pytest.fixture
async def world(broker_url: str, app_name: str) -> AsyncIterator[World]:
    """The app of this test, on each broker; no worker serves it."""
    broker = connect(broker_url, app_name)
    made = World(broker_url, app_name, broker)
    async with made.app, made.stack:
        yield made
    await broker.close()
