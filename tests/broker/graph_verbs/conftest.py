"""The brokers that keep graphs."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import features, graphs_of
from aiotask.brokers.graphs import Graphs
from aiotask.brokers.technology import GRAPHS


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are."""
    url = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    if GRAPHS not in features(url):
        pytest.skip("this broker keeps no graphs")
    return url


@pytest.fixture
def graphs(broker: Broker) -> Graphs:
    return graphs_of(broker)
