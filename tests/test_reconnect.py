"""A worker after a broken connection: it consumes again by itself, and each job still runs once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import uvloop

from aiotask import App, gather
from aiotask.broker import Broker
from aiotask.brokers import connect
from aiotask.brokers.redis.connection import Wire

from .chaos.faults.proxy import Proxy
from .helpers import wait_until, wait_until_async
from .server import PrivateServer


@pytest.mark.trap("stranded in the living")
async def test_what_is_claimed_with_a_new_connection_runs_once(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)
    runs: Counter[int] = Counter()

    @app.task
    async def note(number: int) -> int:
        runs[number] += 1
        return number

    async with app, app.worker():
        for first in range(0, 400, 20):
            own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            numbers = range(first, first + 20)
            assert await gather(note.apply_async(number) for number in numbers) == list(numbers)

    assert runs == Counter(range(400))


async def test_a_worker_whose_outcomes_are_refused_claims_no_more(
    own_server: PrivateServer, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotask.worker.in_hand.BACKLOG", 50)
    app = App(app_name, url=own_server.url)
    marks = f"aiotask1:{{{app_name}}}:marks"
    runs = 0

    @app.task
    async def note(number: int) -> int:
        nonlocal runs
        runs += 1
        return number

    async with app:
        results = [note.apply_async(number) for number in range(3000)]
        await results[-1].sent()
        own_server.call("SET", marks, "not ours")
        seen: list[int] = []

        async def has_paused() -> bool:
            seen.append(runs)
            return runs >= 50 and seen[-10:] == [runs] * 10

        async with app.worker():
            await wait_until_async(has_paused, description="it runs no more jobs")
            assert runs < 1000, "the rest waits at the broker, not here"
            own_server.call("DEL", marks)
            assert await gather(results) == list(range(3000))
    assert runs == 3000


async def test_what_is_in_hand_is_not_begun_again_when_its_consumer_group_is_destroyed(
    own_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=own_server.url)
    runs: Counter[int] = Counter()
    end = asyncio.Event()

    @app.task
    async def hold(number: int) -> int:
        runs[number] += 1
        await end.wait()
        return number

    async with app, app.worker():
        first = hold.apply_async(1)
        await wait_until_async(lambda: runs[1], description="it runs")
        assert own_server.call("XGROUP", "DESTROY", f"aiotask1:{{{app_name}}}:q:default:5", "w")
        second = hold.apply_async(2)
        await wait_until_async(lambda: runs[2], description="the next one runs, from a new group")
        end.set()
        assert await gather((first, second)) == [1, 2]

    assert runs == {1: 1, 2: 1}


def test_a_connection_that_was_reset_between_two_commands_is_made_anew(own_server: PrivateServer) -> None:
    """In workers' loops: uvloop has an error of its own for that, of which agents would die."""

    async def ask(proxy: Proxy) -> None:
        wire = Wire(proxy.url)
        assert await wire.call("PING") == b"PONG"
        assert proxy.reset() == 1
        await wait_until_async(lambda: not wire.connected, description="the reset has arrived")
        assert await wire.call("PING") == b"PONG"
        assert wire.generation == 2
        await wire.close()

    with Proxy(own_server.url) as proxy, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask(proxy))


async def test_a_worker_in_a_loop_whose_host_was_declared_dead_lives_anew(
    own_server: PrivateServer, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(app_name, url=own_server.url)
    broker = connect(own_server.url, app_name)

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app, app.worker():
        [host] = await broker.leases()
        assert await broker.declare_dead(host)
        # This loop is busy meanwhile, so its keeper hears of it first.
        wait_until(lambda: "was declared dead by another host" in caplog.text, description="the keeper has heard")
        assert await add.apply_async(1, 2) == 3
        await wait_until_async(lambda: beats(broker, host), description="its lease is kept")
    await broker.close()


async def beats(broker: Broker, host: str) -> bool:
    return (await broker.leases()).get(host, 0) >= 2
