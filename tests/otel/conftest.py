"""An app whose spans stay in this process, on each broker."""

from __future__ import annotations

import pytest

from aiotask import App
from aiotask.contrib.otel import Tracing

from .spans import Memory


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def app(memory: Memory, app_name: str, broker_url: str) -> App:
    return App(app_name, url=broker_url, middleware=[Tracing(tracer_provider=memory.provider)])
