"""Data that another server wrote, or that is damaged."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from aiotask.embedded import server as embedded
from aiotask.errors import BrokerError, ConfigError

from .processes import client


@pytest.mark.parametrize(
    ("written_by", "fix"),
    [
        ({"kind": "redis", "version": "7.0.15"}, "Install redis-server 7"),
        ({"version": "99.1.0"}, "Install valkey-server 99"),
    ],
    ids=["another-kind", "newer-version"],
)
@pytest.mark.trap("data of another kind")
def test_data_that_this_server_cannot_read_is_refused(written_by: dict[str, str], fix: str, home: Path) -> None:
    with client(embedded.ensure()) as connection:
        connection.set("job", "waits")
    embedded.stop()
    record = json.loads((home / "server.json").read_text())
    (home / "server.json").write_text(json.dumps(record | written_by))

    with pytest.raises(ConfigError, match=fix) as refused:
        embedded.ensure()

    assert "AIOTASK_HOME" in str(refused.value) and str(home) in str(refused.value)
    (home / "server.json").write_text(json.dumps(record))
    with client(embedded.ensure()) as connection:
        assert connection.get("job") == "waits"


def test_directory_without_data_is_free_for_any_kind(home: Path) -> None:
    home.mkdir(mode=0o700)
    record = {"kind": "redis", "version": "7.0.15", "binary": "/gone/redis-server", "host": socket.gethostname()}
    (home / "server.json").write_text(json.dumps(record))

    assert embedded.ensure().kind == "valkey"
    assert json.loads((home / "server.json").read_text())["kind"] == "valkey"


def test_damaged_data_is_reported_in_the_words_of_the_server(home: Path) -> None:
    with client(embedded.ensure()) as connection:
        connection.set("job", "waits")
    embedded.stop()
    (file,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    file.write_bytes(b"no such command\r\n" + whole)

    with pytest.raises(BrokerError, match=r"(?s)did not start in.*Bad file format reading the append only file"):
        embedded.ensure()

    file.write_bytes(whole)
    with client(embedded.ensure()) as connection:
        assert connection.get("job") == "waits"
