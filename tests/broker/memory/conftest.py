"""The broker of one process."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import connect


@pytest.fixture
def memory(app_name: str) -> Broker:
    return connect("memory://", app_name)
