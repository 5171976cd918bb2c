"""An app whose spans stay in this process, on each broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import context

from aiotask import App
from aiotask.contrib.otel import Tracing

from .spans import Memory


@pytest.fixture(autouse=True)
def _no_current_span() -> Iterator[None]:
    """A test without an event loop shares its context with the tests after it, and the span of a run stays current."""
    before = context.attach(context.Context())
    yield
    context.detach(before)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def app(memory: Memory, app_name: str, broker_url: str) -> App:
    return App(app_name, url=broker_url, middleware=[Tracing(tracer_provider=memory.provider)])
