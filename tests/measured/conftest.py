"""A server for every test, and a proxy before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from aiotask.broker import Broker

from ..chaos.faults.proxy import Proxy
from ..seam import Worker
from ..server import PrivateServer


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
