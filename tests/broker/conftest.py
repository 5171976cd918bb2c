"""The workers that the tests of brokers drive by hand."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker

from ..seam import MakeBroker, Worker


@pytest.fixture(params=["memory", "redis", "sqlite"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are: every test of a verb runs on the example of docs/brokers.md, too."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite://{request.getfixturevalue('tmp_path')}"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
async def worker(broker: Broker) -> Worker:
    """A live incarnation with a broker object of its own, beside that of the client and the keeper."""
    return await Worker(broker, "host.1").enlist()


@pytest.fixture
async def other(another_broker: MakeBroker) -> Worker:
    """A second live incarnation, on another host."""
    return await Worker(another_broker(), "elsewhere.1").enlist()
