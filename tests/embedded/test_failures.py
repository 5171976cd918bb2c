"""The embedded server dies, hangs, or is hidden; another program is on its socket."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from aiotask.embedded import probe as server_probe
from aiotask.embedded import server as embedded
from aiotask.embedded.state_directory import StateDirectory
from aiotask.errors import BrokerError

from ..helpers import wait_until
from .processes import client, kill

# ---- it dies, it hides, it hangs


def test_data_and_secret_survive_a_kill() -> None:
    before = embedded.ensure()
    with client(before) as connection:
        connection.set("job", "waits")
        assert connection.waitaof(1, 0, 0)[0] == 1
    kill(before)

    after = embedded.ensure()

    assert after.started and after.pid != before.pid and after.secret == before.secret
    with client(after) as connection:
        assert connection.get("job") == "waits"


def test_data_survives_a_stop() -> None:
    with client(embedded.ensure()) as connection:
        connection.set("job", "waits")
    assert embedded.stop()

    with client(embedded.ensure()) as connection:
        assert connection.get("job") == "waits"


def test_ensure_comes_back_when_the_data_is_loaded() -> None:
    count = 300_000
    before = embedded.ensure()
    with client(before) as connection:
        connection.eval("for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'key:' .. i, i) end", 0, count)
    assert embedded.stop()

    with client(embedded.ensure()) as connection:
        assert connection.dbsize() == count


def test_server_that_hangs_is_reported_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = embedded.ensure()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(embedded, "SILENCE_TIMEOUT", 0.5)
            patch.setattr(server_probe, "SILENCE_TIMEOUT", 0.5)
            with pytest.raises(BrokerError, match=rf"\(pid {server.pid}\).* does not answer"):
                embedded.ensure()
            with pytest.raises(BrokerError, match=rf"\(pid {server.pid}\).* does not answer"):
                embedded.status()
            with pytest.raises(BrokerError, match=f"kill -9 {server.pid}"):
                embedded.stop(timeout=0.5)
    finally:
        os.kill(server.pid, signal.SIGCONT)

    # The stop that was asked for while it slept is obeyed now.
    wait_until(lambda: embedded.status() is None, description="the server has ended")
    assert embedded.ensure().pid != server.pid


def test_server_without_its_socket_is_not_doubled_and_can_be_stopped() -> None:
    server = embedded.ensure()
    with client(server) as connection:
        connection.set("job", "waits")
    StateDirectory.locate().socket.unlink()

    with pytest.raises(BrokerError, match=rf"\(pid {server.pid}\).* socket .* aiotask server stop"):
        embedded.ensure()
    assert embedded.stop()

    with client(embedded.ensure()) as connection:
        assert connection.get("job") == "waits"


def test_lock_that_a_fork_inherited_does_not_keep_the_server_from_starting() -> None:
    old = embedded.ensure()
    embedded.stop()
    inherited = os.open(old.directory / "server.alive", os.O_RDWR)
    try:
        fcntl.flock(inherited, fcntl.LOCK_EX)

        new = embedded.ensure()

        assert new.started
        assert StateDirectory.locate().alive()
    finally:
        os.close(inherited)


def test_server_of_another_host_is_not_doubled(home: Path) -> None:
    embedded.ensure()
    embedded.stop()
    record = json.loads((home / "server.json").read_text())
    (home / "server.json").write_text(json.dumps(record | {"host": "far-away"}))
    remote = os.open(home / "server.alive", os.O_RDWR)
    try:
        fcntl.flock(remote, fcntl.LOCK_EX)

        with pytest.raises(BrokerError, match="far-away"):
            embedded.ensure()
        with pytest.raises(BrokerError, match="far-away"):
            embedded.stop()
    finally:
        os.close(remote)


def test_whoever_holds_the_lock_for_ever_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SILENCE_TIMEOUT", 0.2)
    home.mkdir(mode=0o700)

    with StateDirectory.locate(home).try_lock() as mine:
        assert mine
        with pytest.raises(BrokerError, match="Another process has been starting or stopping"):
            embedded.ensure()


# ---- somebody else on the socket


def test_program_that_is_no_server_on_the_socket_is_reported(home: Path) -> None:
    home.mkdir(mode=0o700)
    path = StateDirectory.locate(home).socket
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        web = threading.Thread(target=answer, daemon=True)
        web.start()

        for act in (embedded.ensure, embedded.status, embedded.stop):
            with pytest.raises(BrokerError, match="Another program listens"):
                act()
        web.join(10)
    path.unlink()


def test_server_of_another_directory_on_the_socket_is_neither_used_nor_stopped(home: Path, tmp_path: Path) -> None:
    home.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    other = embedded.ensure(elsewhere)
    try:
        mine, theirs = StateDirectory.locate(home).socket, StateDirectory.locate(elsewhere).socket
        mine.symlink_to(theirs)

        with pytest.raises(BrokerError, match="Another program listens"):
            embedded.ensure()
        with pytest.raises(BrokerError, match="Another program listens"):
            embedded.stop()

        assert embedded.ensure(elsewhere).pid == other.pid
        mine.unlink()
    finally:
        embedded.stop(elsewhere)
