"""systemd: what a supervisor tells it of start, reload, life and stop."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.daemon.health.bulletin import Bulletin
from aiotask.daemon.health.systemd import Notify

from .acceptance.stage import prepared
from .helpers import wait_until, wait_until_async
from .workers import running_workers


class Listener:
    """The socket that systemd would listen on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.said: list[str] = []

    def hear(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.said.append(self._socket.recv(4096).decode())
        return self.said

    def wait_for(self, word: str, times: int = 1) -> str:
        def there() -> list[str]:
            return [said for said in self.hear() if said.startswith(word)]

        wait_until(lambda: len(there()) >= times, description=f"{word} was said {times} times")
        return there()[-1]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with tempfile.TemporaryDirectory(prefix="at-", dir="/tmp") as directory:
        # Abstract where there is such a thing.
        address = f"@aiotask-test-{os.getpid()}" if sys.platform == "linux" else f"{directory}/notify"
        made = Listener(address)
        try:
            yield made
        finally:
            made.close()


async def test_systemd_hears_of_start_reload_life_and_stop(redis_url: str, tmp_path: Path, listener: Listener) -> None:
    with running_workers(tmp_path / "workers", redis_url) as workers:
        stage = prepared("hazards", workers, tmp_path / "ledger")
        stage.env |= {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "1000000"}
        with stage.active():
            supervisor = stage.start(2)
            listener.wait_for("READY=1")
            assert "STATUS=2 of 2 worker processes ready" in listener.wait_for("STATUS=2 of 2")
            listener.wait_for("WATCHDOG=1", 3)
            # What tasks start does not speak for the service.
            assert await stage.environment.apply_async() == []
            old = {child.pid for child in supervisor.children()}
            before = time.monotonic_ns() // 1000
            supervisor.signal(signal.SIGHUP)
            reloading = listener.wait_for("RELOADING=1")
            (stamp,) = [line for line in reloading.splitlines() if line.startswith("MONOTONIC_USEC=")]
            assert before <= int(stamp.partition("=")[2]) <= time.monotonic_ns() // 1000
            listener.wait_for("READY=1", 2)
            said = [word for word in listener.hear() if word in ("READY=1", reloading)]
            assert said == ["READY=1", reloading, "READY=1"]
            await wait_until_async(
                lambda: len(old & {child.pid for child in supervisor.children()}) == 1, description="all but the keeper"
            )
            assert supervisor.stop() == 0
            stopping = listener.wait_for("STOPPING=1")
            # More than the 30 s of grace.
            assert int(stopping.partition("EXTEND_TIMEOUT_USEC=")[2]) > 40e6
            assert listener.hear().count("READY=1") == 2


def test_the_watchdog_hears_nothing_when_something_hangs(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
    monkeypatch.setenv("WATCHDOG_USEC", "2")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    bulletin = Bulletin(30.0)
    assert "NOTIFY_SOCKET" not in os.environ

    def beats() -> int:
        before = listener.hear().count("WATCHDOG=1")
        bulletin.turn([], 1, 1, rolling=False, stopping=False)
        return listener.hear().count("WATCHDOG=1") - before

    assert beats() == 1
    bulletin.vitals.judge(False)
    assert beats() == 0
    bulletin.vitals.judge(True)
    assert beats() == 1
    # The last keeper was well, long ago.
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 20)
    assert beats() == 0
    bulletin.close()


def test_who_is_not_asked_says_nothing(listener: Listener, tmp_path: Path) -> None:
    for environment in (
        {"WATCHDOG_USEC": "10"},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "10"},
        {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "10"},
        {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "10", "WATCHDOG_PID": "1"},
    ):
        notify = Notify(environment)
        assert environment == {}
        notify.beat()
        assert not select.select([listener._socket], [], [], 0)[0]
        notify.ready()
        notify.close()
        notify.stopping(1.0)
    assert listener.hear() == ["READY=1"]
