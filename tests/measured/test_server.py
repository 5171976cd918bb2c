"""Traps of servers, and the tests that hold their remedies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiotask
from aiotask import App
from aiotask.broker import BATCH_BYTES, BATCH_JOBS, Broker, Notice
from aiotask.brokers.redis import broker as redis_broker
from aiotask.client.send_buffer import SendBuffer
from aiotask.keeper import lease as leases
from aiotask.keeper.lease import Lease
from aiotask.worker.membership import Membership
from aiotask.worker.run import NoBoard

from ..chaos.faults.proxy import Proxy
from ..helpers import wait_until, wait_until_async
from ..seam import Worker, a_push, ids, listening, send
from ..server import PrivateServer


@pytest.mark.trap("stranded in the living")
async def test_a_worker_runs_what_it_was_lent_in_an_answer_that_got_lost(
    own_server: PrivateServer, proxy: Proxy, app_name: str
) -> None:
    here, there = (App(app_name, url=url, secret="of both") for url in (own_server.url, proxy.url))

    runs: list[str] = []
    end = asyncio.Event()

    async def note(name: str) -> str:
        runs.append(name)
        if name == "held":
            await end.wait()
        return name

    sending = here.register_task(note)
    there.register_task(note)
    async with here, there.worker():
        assert await sending.apply_async("before").wait(30) == "before"
        held = sending.apply_async("held")
        await wait_until_async(lambda: "held" in runs, description="a job runs")
        with proxy.swallow("down"):
            result = sending.apply_async("lost")
            await wait_until_async(
                lambda: own_server.call("XPENDING", f"aiotask1:{{{app_name}}}:q:default:5", "w")["pending"] == 2,
                description="the server has lent it",
            )
        proxy.reset()
        assert await result.wait(60) == "lost"
        end.set()
        assert await held.wait(30) == "held"
    assert runs == ["before", "held", "lost"], "and what runs is not run again"


@pytest.mark.trap("cancelled read")
async def test_jobs_that_arrive_as_a_read_is_cancelled_are_found(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    names = [f"job-{n}" for n in range(40)]
    held: set[str] = set()
    await worker.wait(0.01)  # makes the lanes
    for n, name in enumerate(names):
        waiting = asyncio.create_task(worker.wait(60.0))
        await wait_until_async(
            lambda: own_server.call("INFO", "clients")["blocked_clients"] == 1, description="the read is blocked"
        )
        pushing = asyncio.create_task(send(broker, name))
        for _ in range(n % 8):
            await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            held.update(ids(await waiting))
        await pushing
        held.update(ids(await worker.claim()))
    assert held != set(names), "some were lost with the answer, or this shows nothing"
    assert held | set(ids(await worker.adopt())) == set(names)


@pytest.mark.trap("blocking script")
def test_no_script_blocks() -> None:
    scripts = list((Path(redis_broker.__file__).parent / "scripts").rglob("*.lua"))
    assert len(scripts) > 10
    for script in scripts:
        code = "\n".join(line.partition("--")[0] for line in script.read_text().splitlines())
        assert "'BLOCK'" not in code and "'BLPOP'" not in code and "'WAIT'" not in code, script.name


@pytest.mark.trap("large script")
async def test_what_is_sent_at_once_goes_out_in_small_batches(own_server: PrivateServer, app_name: str) -> None:
    app, count = App(app_name, url=own_server.url), 8_100
    send_buffer = SendBuffer("client", lambda ids, error: True)
    for n in range(600):
        send_buffer.put(a_push(f"small-{n}"))
    for n in range(8):
        send_buffer.put(a_push(f"large-{n}", body=bytes(BATCH_BYTES // 3 if n else BATCH_BYTES + 1)))
    batches = []
    while batch := send_buffer.next_batch():
        batches.append(batch)
        send_buffer.accept()
    assert [push.id for batch in batches for push in batch] == [f"small-{n}" for n in range(600)] + [
        f"large-{n}" for n in range(8)
    ]
    for batch in batches:
        assert len(batch) <= BATCH_JOBS == 250
        assert len(batch) == 1 or sum(len(push.sealed) for push in batch) <= BATCH_BYTES == 262_144

    @app.task
    async def echo(n: int) -> int:
        return n

    async with app:
        results = [echo.apply_async(n) for n in range(count)]
        await app.flush()
        async with app.worker():
            assert await aiotask.gather(results) == list(range(count))


async def test_outcomes_that_are_large_go_out_in_small_batches(own_server: PrivateServer, app_name: str) -> None:
    app, count, gate = App(app_name, url=own_server.url), 40, asyncio.Event()
    running: list[int] = []

    @app.task
    async def large(n: int) -> bytes:
        running.append(n)
        await gate.wait()
        return bytes([n]) * (BATCH_BYTES // 4)

    async with app, app.worker():
        results = [large.apply_async(n) for n in range(count)]
        await wait_until_async(lambda: len(running) == count, description="all jobs run")
        own_server.call("CONFIG", "RESETSTAT")
        gate.set()
        assert [value[0] for value in await aiotask.gather(results)] == list(range(count))
    calls = own_server.call("INFO", "commandstats")["cmdstat_xack"]["calls"]
    assert count // 4 <= calls < count


@pytest.mark.trap("server clock")
async def test_a_pause_of_the_server_or_of_a_peer_kills_no_host(
    own_server: PrivateServer, another_broker: Callable[[], Broker], app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE", 0.3)
    monkeypatch.setattr(leases, "RENEW_INTERVAL", 0.05)
    other = Lease(another_broker(), "other")
    watching = Lease(another_broker(), "watching")
    await other.renew()
    await watching.watch()
    os.kill(own_server.pid, signal.SIGSTOP)
    look = asyncio.create_task(watching.watch())
    await asyncio.sleep(0.7)  # the pause itself, longer than a lease
    os.kill(own_server.pid, signal.SIGCONT)
    await look
    assert set(await another_broker().leases()) == {"other"}
    # Nothing there goes away by itself, whatever the clock of the server does.
    for key in ("leases", "live"):
        assert own_server.call("PTTL", f"aiotask1:{{{app_name}}}:{key}") == -1
    # But who stands still while others look is dead.
    async with asyncio.timeout(30):
        while await another_broker().leases():
            await watching.watch()
            await asyncio.sleep(leases.RENEW_INTERVAL)
    await other.renew()
    assert other.lost.is_set()


@pytest.mark.trap("silent loss")
async def test_what_a_busy_client_was_told_and_the_server_threw_away_arrives(
    own_server: PrivateServer, app_name: str
) -> None:
    def make_app() -> App:
        app = App(app_name, url=own_server.url)

        @app.task
        async def big(size: int) -> bytes:
            return bytes(size)

        app.big = big  # type: ignore[attr-defined]
        return app

    async def work() -> None:
        app = make_app()
        async with app, app.worker(burst=True) as worker:
            await worker.finished()

    own_server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0")
    # Below and above the size that is published whole; a thousand kilobytes in all.
    sizes = [15_000] * 60 + [100_000]
    app = make_app()
    async with app:
        results = [app.big.apply_async(size) for size in sizes]  # type: ignore[attr-defined]
        awaited = asyncio.ensure_future(aiotask.gather(results))
        await wait_until_async(
            lambda: own_server.call("PUBSUB", "CHANNELS") and all(result.send_buffer.empty for result in results),
            description="the client has subscribed and sent",
        )
        working = threading.Thread(target=lambda: asyncio.run(work()))
        working.start()
        working.join(30)  # this loop stands still until all is done
        wait_until(
            lambda: not own_server.call("CLIENT", "LIST", "TYPE", "pubsub"), description="the server has hung up on it"
        )
        async with asyncio.timeout(60):
            assert [len(value) for value in await awaited] == sizes


@pytest.mark.trap("silent loss")
async def test_a_large_outcome_is_not_published(broker: Broker, worker: Worker) -> None:
    await send(broker, "small", "large")
    small, large = (await worker.claim()).deliveries
    async with listening(broker, "client") as client:
        await worker.finish(small, outcome=bytes(10_000), reply="client")
        await worker.finish(large, outcome=bytes(100_000), reply="client")
        await wait_until_async(lambda: len(client.notices) == 2, description="both are told")
    assert client.notices == [Notice("small", bytes(10_000)), Notice("large", None)]


class OldServer:
    """Answers as a server of 6.0 does, as far as anybody asks."""

    async def __aenter__(self) -> OldServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        facts = b"# Server\r\nredis_version:6.0.16\r\nredis_mode:standalone\r\n"
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                for command in data.split(b"*")[1:]:
                    asked = b"$4\r\nINFO\r\n" in command
                    writer.write(b"$%d\r\n%s\r\n" % (len(facts), facts) if asked else b"+OK\r\n")


@pytest.mark.trap("old server")
async def test_a_worker_says_that_its_server_is_too_old(app_name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with OldServer() as server:
        broker = redis_broker.RedisBroker(server.url, app_name)
        membership = Membership(broker, NoBoard(), host="host", number="1", facts={}, recorded=True)
        with caplog.at_level(logging.WARNING):
            await membership.enlist(lambda: "is version 6.0; aiotask needs Redis 6.2 or Valkey." in caplog.text)
        assert membership.incarnation == ""
        await broker.close()
