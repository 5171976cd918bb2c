"""The brokers that keep what jobs emit and report."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import streams_of
from aiotask.brokers.streams import Streams


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def streams(broker: Broker) -> Streams:
    return streams_of(broker)
