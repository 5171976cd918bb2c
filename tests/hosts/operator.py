"""An operator of the hosts of one app: what they are asked to do, and what can be seen of them afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psutil
import redis.asyncio

from aiotask.broker import Broker, Notice
from aiotask.brokers import connect
from aiotask.ops.actions import Actions
from aiotask.ops.connection import Place, inspectors
from aiotask.ops.hosts import read_hosts
from aiotask.ops.visitors import ACTS, Verb, Visitor
from aiotask.wire.control import Control

from ..acceptance.stage import Stage
from ..helpers import wait_until, wait_until_async
from ..supervisor.seen import live_workers
from ..workers import Supervisor

__all__ = ["Operated", "keeper_of", "kill_keeper"]


class Operated:
    """Does what ``aiotask workers VERB`` does."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.place = Place(stage.app.name, stage.url)
        self.actions = Actions(self.place, Visitor("ada", ACTS, "cli"))
        self.control = Control(stage.app.secrets, stage.app.name)

    async def start(self, concurrency: int = 1, *options: str) -> tuple[Supervisor, str]:
        """A supervisor whose processes are all live, and the name of its host."""
        before = {each["host"] for each in await self.hosts()}
        supervisor = self.stage.start(concurrency, *options)

        async def named() -> str:
            found = [each for each in await self.hosts() if each["host"] not in before and each["age"] is not None]
            return found[0]["host"] if found and len(found[0]["live"]) == concurrency else ""

        return supervisor, await wait_until_async(named, description="the host has reported")

    async def steer(self, verb: Verb, *hosts: str) -> list[dict[str, Any]]:
        return await self.actions.steer_hosts(verb, hosts)

    async def told(self, verb: Verb, host: str) -> str:
        """What a host says that has done it."""
        [found] = await self.steer(verb, host)
        assert found["did"] == "done", found
        return str(found["said"])

    async def hosts(self) -> list[dict[str, Any]]:
        return await read_hosts(self.place)

    async def report(self, host: str) -> dict[str, Any]:
        return next(each for each in await self.hosts() if each["host"] == host)

    async def pending(self) -> int:
        async with inspectors(self.place) as (connection,):
            return (await connection.inspector.stats()).pending

    async def live(self, count: int, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        return await live_workers(self.stage.app, count, without=without)

    async def now(self) -> float:
        """Unix seconds of the broker's clock."""
        async with inspectors(self.place) as (connection,):
            return (await connection.inspector.facts()).time

    # ---- what travels

    @contextlib.asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        broker = connect(self.stage.url, self.stage.app.name)
        await broker.open()
        try:
            yield broker
        finally:
            await broker.close()

    async def publish(self, host: str, sealed: bytes) -> None:
        async with self.broker() as broker:
            assert await broker.publish(host, Notice("0123", sealed))

    @contextlib.asynccontextmanager
    async def recording(self, host: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """All that is published to a host meanwhile: channels and raw messages."""
        client = redis.asyncio.Redis.from_url(self.stage.url)
        try:
            async with client.pubsub() as listening:
                await listening.psubscribe(f"*{self.stage.app.name}*to:{host}")
                await wait_until_async(lambda: listening.get_message(timeout=0.1), description="it is subscribed")
                found: list[tuple[bytes, bytes]] = []
                yield found

                async def read() -> bool:
                    message = await listening.get_message(ignore_subscribe_messages=True, timeout=0.1)
                    if message is not None:
                        found.append((message["channel"], message["data"]))
                    return bool(found) and message is None

                await wait_until_async(read, description="all has been read")
        finally:
            await client.aclose()

    async def replay(self, recorded: list[tuple[bytes, bytes]]) -> None:
        """Publish raw messages again."""
        client = redis.asyncio.Redis.from_url(self.stage.url)
        for channel, data in recorded:
            assert await client.publish(channel, data) == 1
        await client.aclose()


def keeper_of(supervisor: Supervisor) -> psutil.Process | None:
    for child in supervisor.children():
        with contextlib.suppress(psutil.Error):
            if any("keeper" in word for word in child.cmdline()):
                return child
    return None


def kill_keeper(supervisor: Supervisor) -> None:
    """Kill the keeper, and return once there is another one."""
    old = wait_until(lambda: keeper_of(supervisor), description="there is a keeper")
    old.kill()
    wait_until(
        lambda: (new := keeper_of(supervisor)) is not None and new.pid != old.pid, description="there is another keeper"
    )
