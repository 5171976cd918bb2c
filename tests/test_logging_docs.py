"""The page on logging has every event of a job, with its glyph and level."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from aiotask.log import setup
from aiotask.log.events import EventLog, JobEvent

from .workers import ROOT


@pytest.fixture(autouse=True)
def logger() -> Iterator[None]:
    """The logger of aiotask, put back as it was."""
    found = logging.getLogger("aiotask")
    before = found.handlers[:], found.level, found.propagate
    yield
    found.handlers[:], found.level, found.propagate = before


def test_every_event_has_its_row_with_its_glyph_and_level() -> None:
    page = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| `?(\S?)`? *\| (\w+) \|", page, re.MULTILINE)}
    stream = io.StringIO()
    setup.configure(log_json=True, stream=stream)
    for kind in JobEvent:
        EventLog().job(kind, id="1", task="shop:price")

    for line in map(json.loads, stream.getvalue().splitlines()):
        assert rows[line["event"]] == (line["message"][0], line["level"])
    assert set(JobEvent) <= rows.keys()
