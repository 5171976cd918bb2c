"""Probes: what a supervisor tells those who look after it, from what really happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aiotask import App
from aiotask.brokers import connect, inspect
from aiotask.daemon.board import SharedBoard
from aiotask.daemon.health import probe
from aiotask.daemon.health.health import Branch, Health
from aiotask.daemon.health.vitals import Vitals
from aiotask.keeper.lease import Lease

from .acceptance.stage import prepared
from .helpers import wait_until
from .server import PrivateServer
from .workers import ROOT, Supervisor, running_workers


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def ask(port: int, target: str, method: str = "GET") -> tuple[int, str]:
    """Status and body; (0, …) while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionError as error:
        return 0, str(error)
    finally:
        connection.close()


def doctor(question: str, **env: str) -> tuple[int, str]:
    """`aiotask doctor --live` as a container's exec probe runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "aiotask_cli", "doctor", f"--{question}"],
        env={name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == "" and done.stdout.count("\n") == 1, done
    return done.returncode, done.stdout.strip()


# ---- from outside


def test_probes_follow_what_happens_to_broker_keeper_and_supervisor(own_server: PrivateServer, tmp_path: Path) -> None:
    port = free_port()
    with (
        # Not tmp_path: a socket path holds 104 bytes, and beyond that it is made elsewhere.
        tempfile.TemporaryDirectory(prefix="at-", dir="/tmp") as place,
        running_workers(Path(place), own_server.url) as workers,
    ):
        home = f"{place}/home"
        stage = prepared("hazards", workers, tmp_path / "ledger")
        supervisor = stage.start(2, "--health-port", str(port))
        wait_until(lambda: ask(port, "/ready") == (200, "ready\n"), description="it is ready")
        keeper = check_pages(port, supervisor)

        # The same without a port, by nothing but the environment; and by the port.
        assert doctor("live", AIOTASK_HOME=home) == (0, f"live: worker pid {supervisor.pid}")
        assert doctor("ready", AIOTASK_HEALTH_PORT=str(port)) == (0, f"ready: the worker at port {port}")

        with hostile_clients(port):
            assert ask(port, "/live")[0] == 200

        # A second one on that port says so and ends.
        second = stage.start(1, "--health-port", str(port), wait=False)
        assert second.wait() == 2
        assert f'The health port {port} at "127.0.0.1" cannot be opened: Address already in use.' in second.log

        # A keeper that hangs is replaced, and what was asked meanwhile is answered by the next one.
        keeper.suspend()
        assert ask(port, "/live")[0] == 200
        assert not keeper.is_running()

        # No restart helps against a broker that is away.
        os.kill(own_server.pid, signal.SIGSTOP)
        wait_until(lambda: ask(port, "/ready")[0] == 503, description="it is not ready")
        assert f'The broker of "{stage.app.name}" has not answered for' in ask(port, "/ready")[1]
        code, line = doctor("ready", AIOTASK_HOME=home)
        assert (code, line.split(":")[0]) == (1, "not ready") and "has not answered" in line
        assert doctor("live", AIOTASK_HOME=home)[0] == 0
        assert ask(port, "/live")[0] == 200
        os.kill(own_server.pid, signal.SIGCONT)
        wait_until(lambda: ask(port, "/ready")[0] == 200, description="it is ready again")

        # Killed, it leaves nothing: the next one has the port, and finds no socket of a dead one.
        supervisor.signal(signal.SIGKILL)
        supervisor.wait()
        wait_until(lambda: not list(Path(home).glob("worker.*")), description="the keeper has removed the socket")
        wait_until(lambda: ask(port, "/live")[0] == 0, description="the keeper has given the port away")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{home}/worker.99.sock")
        successor = stage.start(1, "--health-port", str(port))
        assert [path.name for path in Path(home).glob("worker.*")] == [f"worker.{successor.pid}.sock"]
        assert successor.stop() == 0
        assert list(Path(home).glob("worker.*")) == []
        assert "no worker was found" in doctor("live", AIOTASK_HOME=home)[1]


def check_pages(port: int, supervisor: Supervisor) -> psutil.Process:
    """What is answered by a supervisor of two processes that is ready; its keeper."""
    assert ask(port, "/live?verbose=1") == (200, "live\n")
    assert ask(port, "/ready", "HEAD") == (200, "")
    assert ask(port, "/ready", "POST")[0] == 405
    assert ask(port, "/nothing")[0] == 404
    everything = json.loads(ask(port, "/")[1])
    assert (everything["pid"], everything["wanted"], everything["in_service"]) == (supervisor.pid, 2, 2)
    workers = {worker["pid"] for worker in everything["workers"]}
    (keeper,) = [child for child in supervisor.children() if child.pid not in workers]
    assert len(workers) == 2
    return keeper


@contextlib.contextmanager
def hostile_clients(port: int) -> Iterator[None]:
    """Many that say nothing, and some that say what is no question."""
    with contextlib.ExitStack() as stack:
        for n in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with contextlib.suppress(OSError):
                client.sendall((b"", b"G", b"x" * 10_000, b"GET //[ HTTP/1.1\r\n", b"\x16\x03\x01\r\n\r\n")[n % 5])
        yield


def test_a_worker_that_cannot_answer_is_found_and_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs before it has a keeper; and one that died without a word."""
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT", 0.1)
    monkeypatch.delenv("AIOTASK_HEALTH_PORT", raising=False)
    with tempfile.TemporaryDirectory(prefix="at-", dir="/tmp") as home, socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{home}/worker.71.sock")
        deaf.listen()
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(f"{home}/worker.72.sock")
        monkeypatch.setenv("AIOTASK_HOME", home)
        said = "not live: worker pid 71 did not answer in 0.1 s (is it still starting?)"
        assert probe.probe("live") == (False, said)
        assert [path.name for path in Path(home).iterdir()] == ["worker.71.sock"]


# ---- the judgement


class Bench:
    """One real supervisor's page, one worker's board and a broker, and a clock that can be put forward."""

    def __init__(self, app: App, patch: pytest.MonkeyPatch) -> None:
        self.app = app
        self.vitals, self.board = Vitals(), SharedBoard(4)
        self.broker = connect(app.url, app.name)
        self.lease = Lease(self.broker, "host")
        branch = Branch(app.name, ["default"], self.lease, inspect(self.broker))
        self.health = Health(self.vitals, [self.board, SharedBoard(4)], [branch])
        self.vitals.turn(1, 1, stopping=False, complete=True)
        self.board.settle_in(4711)
        self.board.enlist("host.1")
        self._ahead = 0.0
        real = time.monotonic
        patch.setattr(time, "monotonic", lambda: real() + self._ahead)

    def pass_(self, seconds: float, *but: Callable[[], object]) -> None:
        """So much time passes, in which nothing moves but these."""
        self._ahead += seconds
        for each in but:
            each()

    def turn(self) -> None:
        self.vitals.turn(1, 1, stopping=False, complete=True)

    def renew(self) -> None:
        self.lease.renewed_at = time.monotonic()

    def judged(self) -> tuple[bool, bool, str]:
        report = self.health.report()
        return report.live, report.ready, " ".join(report.why)


@pytest.fixture
def bench(app_name: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(App(app_name, url="memory://"), monkeypatch)


def test_what_hangs_is_not_live(bench: Bench) -> None:
    assert bench.judged() == (True, True, "")
    everything = bench.turn, bench.renew, bench.board.beat

    bench.pass_(6, bench.turn, bench.board.beat)
    live, ready, why = bench.judged()
    assert (live, ready) == (True, False) and "has not answered for 6" in why
    bench.pass_(11, bench.renew, bench.board.beat)
    live, ready, why = bench.judged()
    assert (live, ready) == (False, False) and "has not responded for 11" in why

    bench.pass_(0, *everything)
    bench.pass_(11, bench.turn, bench.renew)
    live, ready, why = bench.judged()
    assert (live, ready) == (True, False) and "The event loops of all worker processes are blocked" in why
    bench.pass_(20, bench.turn, bench.renew)
    live, _, why = bench.judged()
    assert not live and "The event loop of worker pid 4711 has not run for 31" in why

    # What has no limit of its own gets five minutes; what has one is ended by the supervisor, or that one hangs.
    bench.pass_(0, *everything)
    bench.board.start(0, "forever", 0.0, -1.0)
    bench.pass_(299, bench.turn, bench.renew)
    assert bench.judged()[0]
    bench.pass_(2, bench.turn, bench.renew)
    assert not bench.judged()[0] and "in forever" in bench.judged()[2]
    bench.board.clear(0)
    bench.board.start(0, "limited", time.monotonic() + 600, -1.0)
    bench.pass_(605, bench.turn, bench.renew)
    assert bench.judged()[0]
    bench.pass_(6, bench.turn, bench.renew)
    assert not bench.judged()[0]

    # A place that nobody has is nobody's fault.
    bench.board.settle_in(0)
    assert bench.judged() == (True, True, "")
    bench.vitals.turn(2, 0, stopping=False, complete=False)
    assert bench.judged() == (True, False, "The worker service is starting: 0 of 2 worker processes are ready.")
    bench.vitals.turn(2, 0, stopping=False, complete=True)
    assert bench.judged()[:2] == (True, False)
    bench.vitals.turn(2, 2, stopping=True, complete=True)
    assert bench.judged() == (True, False, "The worker service is stopping.")


async def test_a_worker_that_leaves_alone_what_waits_is_not_live(bench: Bench) -> None:
    async def later(seconds: float) -> tuple[bool, bool, str]:
        for _ in range(2):
            bench.pass_(seconds / 2, bench.turn, bench.renew, bench.board.beat)
            await bench.health.tick()
        return bench.judged()

    await bench.health.tick()
    # Idle for an hour: nothing waits.
    assert await later(3600) == (True, True, "")
    async with bench.app:
        bench.app.register_task(_nothing, name="nothing").apply_async()
    assert (await later(30))[0]
    live, ready, why = await later(80)
    assert (live, ready) == (False, False) and "Worker pid 4711 has started no job for" in why
    # It has run something meanwhile.
    bench.board.start(0, "id", 0.0, -1.0)
    bench.board.clear(0)
    assert (await later(2))[0]


def _nothing() -> None: ...


async def test_what_waits_is_seen_on_every_broker(broker_url: str, app_name: str) -> None:
    app = App(app_name, url=broker_url)
    nothing = app.register_task(_nothing, name="nothing", queue="mail")
    async with app, app.inspector() as inspector:
        assert not await inspector.is_waiting(["mail", "default"])
        result = nothing.options(priority=9).apply_async()
        await result.sent()
        assert await inspector.is_waiting(["default", "mail"])
        assert not await inspector.is_waiting(["default"])
        # Claimed, or not due, is not waiting.
        broker = connect(app.url, app.name)
        await broker.enlist("host.1", "host", b"\x80")
        assert len((await broker.claim("host.1", ["mail"], [], 1)).deliveries) == 1
        await nothing.options(delay=600).apply_async().sent()
        assert not await inspector.is_waiting(["mail"])
        await broker.declare_dead("host")
        await broker.close()
