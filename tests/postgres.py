"""A real PostgreSQL of the test session, in a temporary folder and on a unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from aiotask.brokers.sql import database

from .helpers import wait_until

__all__ = [
    "PostgresServer",
    "database_url",
    "own_postgres",
    "postgres_server",
    "postgres_url",
    "programs",
    "sqlite_url",
]

_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "shared_buffers=64MB", "-c", "max_connections=200")


def programs() -> Path | None:
    """The folder with PostgreSQL's server programs; None: there is none on this machine."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


class PostgresServer:
    """A cluster of its own, run by a user who is not root: PostgreSQL refuses root.

    Args:
        folder: with the programs of the server.
        settings: further ones, such as ``"synchronous_commit=on"``.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self._programs = folder
        self._settings = [*_FAST, *(word for setting in settings for word in ("-c", setting))]
        self.directory = Path(tempfile.mkdtemp(prefix="aiotask-pg-", dir="/tmp"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self.data, "-U", "aiotask", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    @property
    def data(self) -> str:
        return str(self.directory / "data")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{program} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"

    def start(self) -> None:
        """Start it, and return once it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self.data, "-k", self.directory),
                    *("-c", "listen_addresses=", *self._settings),
                ],
                user=self._user,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, description="PostgreSQL answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()}")
        command = [self._programs / "pg_isready", "-h", str(self.directory), "-q"]
        return subprocess.run(command, timeout=30).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes connections (a fast shutdown), SIGQUIT is an immediate one, as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://aiotask@/{database}?host={self.directory}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a client reaches it: libpq and psql read them."""
        return {"PGHOST": str(self.directory), "PGUSER": "aiotask", "PGPASSWORD": "none"}

    @property
    def programs(self) -> Path:
        """The folder of its programs, ``psql`` among them."""
        return self._programs

    def create(self, name: str = "") -> str:
        """The URL of a new, empty database."""
        name = name or f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            # To copy the files of the template takes half as long as to write them to the log, which came later.
            how = "STRATEGY FILE_COPY" if connection.info.server_version >= 150_000 else ""
            connection.execute(f"CREATE DATABASE {name} {how}")  # type: ignore[call-overload]
        return self.url(name)


@contextmanager
def _running(*settings: str) -> Iterator[PostgresServer]:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed on this machine (initdb)")
    server = PostgresServer(folder, *settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this test session; no test stops it."""
    with _running() as server:
        yield server


@pytest.fixture
def own_postgres(_no_open_connections: None) -> Iterator[PostgresServer]:
    """A running PostgreSQL of this test alone, to be stopped at will."""
    # What was committed must survive a crash of the server.
    with _running("synchronous_commit=on") as server:
        yield server


@pytest.fixture
def _no_open_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections that a test leaves: drivers warn about those that are collected."""
    # aiotask itself forgets a database that is collected, often before the end of the test that has made it.
    kept = set(database._databases)
    monkeypatch.setattr(database, "_databases", kept)
    yield
    for each in kept:
        each.dispose()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _no_open_connections: None) -> str:
    """The URL of an empty database of this test on a real PostgreSQL."""
    return postgres_server.create()


@pytest.fixture
def sqlite_url(tmp_path: Path, _no_open_connections: None) -> str:
    """The URL of a database of this test in a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'rows.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: every test that asks for it runs once per kind of database."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url
