"""The brokers that know unique jobs."""

from __future__ import annotations

import pytest

from aiotask.brokers import features
from aiotask.brokers.technology import UNIQUE


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are."""
    url = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    if UNIQUE not in features(url):
        pytest.skip("this broker knows no unique jobs")
    return url
