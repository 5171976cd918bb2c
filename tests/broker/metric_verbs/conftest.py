"""The brokers that keep metrics and trails."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers.metrics import Metrics


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def metrics(broker: Broker) -> Metrics:
    return broker  # type: ignore[return-value]
