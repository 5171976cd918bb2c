"""The brokers that enforce limits."""

from __future__ import annotations

from typing import cast

import pytest

from aiotask.broker import Broker
from aiotask.brokers.limits import Limits
from aiotask.values.limit import LimitSpec

from .words import Declare


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are: the brokers that have the feature ``limits``."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def limits(broker: Broker) -> Limits:
    return cast(Limits, broker)


@pytest.fixture
def declare(limits: Limits) -> Declare:
    """Declares the limit ``api`` with these numbers, as one worker does."""

    async def declare_api(**numbers: float) -> None:
        await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", **numbers)])  # type: ignore[arg-type]

    return declare_api
