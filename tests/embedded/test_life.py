"""The embedded server is started once, found by others, and stopped."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from aiotask.embedded import server as embedded
from aiotask.embedded.state_directory import StateDirectory

from .processes import ENSURE, client, python, redis_path


def test_first_starts_it_the_next_finds_it_and_stop_ends_it(home: Path) -> None:
    first = embedded.ensure()
    second = embedded.ensure()

    assert first.started and not second.started
    assert (second.pid, second.url, second.secret) == (first.pid, first.url, first.secret)
    assert embedded.status() == second
    assert first.directory == home.resolve()
    assert first.kind == "valkey"
    assert str(first.pid) in embedded.announce(first) and str(home.resolve()) in embedded.announce(first)
    assert embedded.stop()
    assert embedded.status() is None
    assert not embedded.stop()


def test_looking_creates_nothing(home: Path) -> None:
    assert embedded.status() is None
    assert not embedded.stop()
    assert not home.exists()


def test_server_is_private_durable_and_of_its_own_session(home: Path) -> None:
    server = embedded.ensure()

    with client(server) as connection:
        config = connection.config_get("port", "appendonly", "appendfsync", "save")
    assert config == {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": ""}
    assert os.getsid(server.pid) == server.pid != os.getsid(0)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
    assert modes["secret"] == 0o600
    assert len(server.secret) == 64 and server.secret not in repr(server)


def test_server_outlives_the_process_that_started_it() -> None:
    starter = python(ENSURE)
    output, errors = starter.communicate(timeout=60)

    assert starter.returncode == 0, errors
    server = embedded.ensure()
    assert json.loads(output) == {"pid": server.pid, "started": True, "secret": server.secret}
    assert not server.started


def test_processes_that_come_together_start_one_server() -> None:
    together = [python(ENSURE) for _ in range(8)]
    answers = [process.communicate(timeout=90) for process in together]

    assert [process.returncode for process in together] == [0] * 8, answers
    seen = [json.loads(output) for output, _ in answers]
    assert len({each["pid"] for each in seen}) == 1
    assert len({each["secret"] for each in seen}) == 1
    assert sum(each["started"] for each in seen) == 1


def test_server_holds_no_descriptor_of_its_starter() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        embedded.ensure()
        os.close(writing)

        assert os.read(reading, 1) == b""  # the end comes only when nobody else holds the other side
    finally:
        os.close(reading)


@pytest.mark.parametrize("name", ["with space", "100% #1?", "ü-" + 40 * "long-"], ids=["space", "escapes", "too-long"])
def test_any_path_will_do(name: str, tmp_path: Path) -> None:
    directory = tmp_path / name / "state"

    server = embedded.ensure(directory)
    try:
        with client(server) as connection:
            assert connection.ping()
        assert embedded.ensure(directory).pid == server.pid
        assert len(os.fsencode(StateDirectory.locate(directory).socket)) < 104
        assert json.loads((directory / "server.json").read_text())["socket"] in redis_path(server)
    finally:
        assert embedded.stop(directory)
