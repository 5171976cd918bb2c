"""What the scan for jobs of dead workers costs the server, and what it leaves: idle workers cost nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aiotask.broker import Broker
from aiotask.brokers.redis import sweep
from aiotask.log import throttle

from ...seam import Worker, drain, send
from ...server import PrivateServer

_LANES = [f"q:default:{kind}" for kind in "r0123456789sg"]


def consumers(server: PrivateServer, lane: str) -> set[bytes]:
    found: list[Any] = server.call("XINFO CONSUMERS", lane, "w")
    return {each["name"] for each in found}


async def make_lanes(server: PrivateServer, key: Callable[[str], str], names: list[str], *, live: bool) -> None:
    """Every lane of the queue, with these consumers that hold nothing."""
    server.call("SADD", key("queues"), "default")
    for lane in _LANES:
        server.call("XGROUP", "CREATE", key(lane), "w", "0", "MKSTREAM")
        for name in names:
            server.call("XGROUP", "CREATECONSUMER", key(lane), "w", name)
    for name in names if live else ():
        server.call("HSET", key("live"), name, b"\x80")


async def count_commands(server: PrivateServer, broker: Broker) -> dict[str, int]:
    """What a scan asks of the server; the first one sweeps besides."""
    await broker.recover()
    server.call("CONFIG", "RESETSTAT")
    await broker.recover()
    stats = server.call("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items() if "config" not in name}


async def test_a_scan_asks_the_server_for_no_more_where_many_workers_are_idle(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await make_lanes(own_server, key, [], live=True)
    few = await count_commands(own_server, broker)
    names = [f"host.{n}" for n in range(2, 102)]
    for lane in _LANES:
        for name in names:
            own_server.call("XGROUP", "CREATECONSUMER", key(lane), "w", name)
    own_server.call("HSET", key("live"), *(part for name in names for part in (name, b"\x80")))

    many = await count_commands(own_server, broker)

    assert many == few
    assert few["xpending"] == len(_LANES)
    assert "xinfo" not in few and "xinfo|consumers" not in few, "it lists consumers that hold nothing"
    assert len(consumers(own_server, key("q:default:5"))) == 100, "consumers of the living stay"


async def test_empty_consumers_go_as_their_host_is_declared_dead(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    await make_lanes(own_server, key, ["host.1", "host.2", "elsewhere.1"], live=True)
    await broker.recover()
    await send(worker.broker, "a")
    assert len((await worker.claim()).deliveries) == 1

    assert await broker.declare_dead("host")
    assert (await broker.recover()).moved == 1

    for lane in _LANES:
        assert consumers(own_server, key(lane)) == {b"elsewhere.1"}
    assert await drain(other) == ["a"]


async def test_empty_consumers_of_the_dead_go_once_a_minute(
    own_server: PrivateServer,
    broker: Broker,
    key: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await broker.recover()
    await make_lanes(own_server, key, [f"gone.{n}" for n in range(60)], live=False)
    await broker.recover()
    assert len(consumers(own_server, key("q:default:s"))) == 60, "a minute has not gone by"

    monkeypatch.setattr(throttle, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sweep.EVERY))
    await broker.recover()

    # 720 are more than one call of the script looks at.
    for lane in _LANES:
        assert consumers(own_server, key(lane)) == set()


async def test_a_dead_worker_leaves_no_consumer_where_it_held_nothing(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await make_lanes(own_server, key, ["host.1", "host.2"], live=True)

    assert (await broker.recover("host.1")).moved == 0

    for lane in _LANES:
        assert consumers(own_server, key(lane)) == {b"host.2"}
