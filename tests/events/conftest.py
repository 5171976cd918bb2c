"""A clock that tests turn, a logger of their own, and the stream that it writes to."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from aiotask.log import events, setup

from .said import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(events, "time", made)
    return made


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The logger of aiotask, put back as it was."""
    found = logging.getLogger("aiotask")
    before = found.handlers[:], found.level, found.propagate
    yield found
    found.handlers[:], found.level, found.propagate = before


@pytest.fixture
def stream() -> io.StringIO:
    made = io.StringIO()
    setup.configure(stream=made, process="worker-2")
    return made
