"""Every test of this folder has a server of its own, since the tests damage it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ...seam import MakeBroker, Worker
from ...server import PrivateServer


@pytest.fixture
def broker_url(own_server: PrivateServer) -> str:
    """Each test has a server of its own, since the tests damage it."""
    return own_server.url


@pytest.fixture
async def worker(another_broker: MakeBroker) -> Worker:
    """A live incarnation with connections of its own."""
    return await Worker(another_broker(), "host.1").enlist()


@pytest.fixture
def key(app_name: str) -> Callable[[str], str]:
    """The full name of a key of this test's app."""
    return lambda name: f"aiotask1:{{{app_name}}}:{name}"
