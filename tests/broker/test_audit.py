"""Lines of the audit, on the brokers that keep them."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import audit_of, features
from aiotask.brokers.bounds import AUDIT_LINES, REFUSALS
from aiotask.brokers.technology import AUDIT
from aiotask.errors import ConfigError
from aiotask.inspector import Inspector


async def test_the_newest_lines_are_kept_and_come_first(broker: Broker, inspector: Inspector) -> None:
    if AUDIT not in features(broker.url):
        with pytest.raises(ConfigError, match="audit"):
            audit_of(broker)
        return
    kept, before = audit_of(broker), (await inspector.facts()).time
    assert await kept.actions() == []

    for number in range(AUDIT_LINES + 5):
        await kept.note_action(b"%d" % number)

    found = await kept.actions(AUDIT_LINES + 100)
    assert [entry.sealed for entry in found] == [b"%d" % number for number in range(AUDIT_LINES + 4, 4, -1)]
    after = (await inspector.facts()).time
    assert all(before - 0.01 <= entry.at <= after + 0.01 for entry in found)
    assert [entry.sealed for entry in await kept.actions(2)] == [b"1004", b"1003"]


async def test_refusals_push_out_older_refusals_and_no_action(broker: Broker) -> None:
    if AUDIT not in features(broker.url):
        return
    kept = audit_of(broker)
    await kept.note_action(b"done")

    for number in range(REFUSALS + 5):
        await kept.note_action(b"%d" % number, refused=True)

    found = await kept.actions(AUDIT_LINES + 100, refused=True)
    assert [entry.sealed for entry in found] == [b"%d" % number for number in range(REFUSALS + 4, 4, -1)]
    assert [entry.sealed for entry in await kept.actions()] == [b"done"]
