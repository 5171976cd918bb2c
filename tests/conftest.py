"""Fixtures that all tests share. Every test has an app name of its own, so tests on one server do not meet."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aiotask.broker import Broker
from aiotask.brokers import connect, inspect
from aiotask.brokers.technology import register
from aiotask.embedded.server import EmbeddedServer, ensure, stop
from aiotask.inspector import Inspector

from .acted import world as world
from .brokers_sqlite.technology import SQLITE
from .postgres import _no_open_connections as _no_open_connections
from .postgres import database_url as database_url
from .postgres import own_postgres as own_postgres
from .postgres import postgres_server as postgres_server
from .postgres import postgres_url as postgres_url
from .postgres import sqlite_url as sqlite_url
from .run_order import place_of
from .server import PrivateServer
from .workers import worker_logs as worker_logs
from .workers import workers as workers

# A test run starts no embedded server unless it says so. These tests do, each in a directory of its own.
os.environ["AIOTASK_EMBEDDED"] = "1"
# Hundreds of processes import aiotask in a test run, and half of their time would go into compiling it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The third broker: what a scheme of one's own needs.
register(SQLITE, "sqlite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share",
        default="1/1",
        metavar="K/N",
        help="run only the files of the K-th of N shares, so that N runs on different Pythons make up the whole suite",
    )
    parser.addoption(
        "--full",
        action="store_true",
        help="all tests, those marked full_only too, and full sizes where a test has two: minutes instead of seconds",
    )


#: Seconds that a test may take in its full size.
FULL_TIMEOUT = 1_800


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Collect thousands of tests without looking for garbage meanwhile, and leave them alone afterwards: these objects
    live until the end, and walking them took a sixth of the time of a test run, also in every process that it forks."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_full = config.getoption("--full")
    if is_full:
        for item in items:
            if "is_full" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(FULL_TIMEOUT))
    share, _, shares = config.getoption("--share").partition("/")
    files = {path: path.relative_to(config.rootpath).as_posix() for path in {item.path for item in items}}

    def is_ours(item: pytest.Item) -> bool:
        mine = zlib.crc32(files[item.path].encode()) % int(shares) == int(share) - 1
        return mine and (is_full or item.get_closest_marker("full_only") is None)

    ours = [item for item in items if is_ours(item)]
    if len(ours) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not is_ours(item)])
    # Stable: within a file, and among the files that take seconds, the order stays.
    items[:] = sorted(ours, key=lambda item: place_of(files[item.path]))


@pytest.fixture(scope="session")
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether this run is one of full sizes (``--full``)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The real server of this test session, an embedded one; nobody stops, fills or empties it."""
    # Not tmp_path: a socket path holds 104 bytes.
    directory = Path(tempfile.mkdtemp(prefix="aiotask-", dir="/tmp"))
    try:
        yield ensure(directory)
    finally:
        stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url(server: EmbeddedServer) -> str:
    return server.url


@pytest.fixture
def own_server() -> Iterator[PrivateServer]:
    """A running server of this test alone, to be hurt at will."""
    server = PrivateServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def app_name() -> str:
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are: every test that asks for it, or for a broker, runs once per technology."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
async def another_broker(broker_url: str, app_name: str) -> AsyncIterator[Callable[[], Broker]]:
    """Makes further broker objects for the same app at the same place, as other processes have them."""
    made: list[Broker] = []

    def make() -> Broker:
        made.append(connect(broker_url, app_name))
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


@pytest.fixture
def broker(another_broker: Callable[[], Broker]) -> Broker:
    return another_broker()


@pytest.fixture
def inspector(broker: Broker) -> Inspector:
    return inspect(broker)
