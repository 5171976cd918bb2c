"""The brokers that keep schedules."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import features, schedules_of
from aiotask.brokers.schedules import Schedules
from aiotask.brokers.technology import SCHEDULES


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are."""
    url = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    if SCHEDULES not in features(url):
        pytest.skip("this broker keeps no schedules")
    return url


@pytest.fixture
def schedules(broker: Broker) -> Schedules:
    return schedules_of(broker)
