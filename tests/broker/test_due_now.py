"""Scheduled jobs that are run at once, on the brokers that can do it."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers import due_now_of
from aiotask.errors import ConfigError

from ..seam import WORN, Worker, a_push, drain, ids, send, take


async def test_scheduled_and_retrying_jobs_are_made_due_in_their_order(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"later-{n}", delay=600.0 + n) for n in (3, 1, 2)), a_push("eta", eta=4e9))
    await worker.requeue(await take(worker, "retrying"), meta=WORN, delay=600.0)
    await send(broker, "pending")
    if broker.url.startswith("sqlite"):
        with pytest.raises(ConfigError, match="due now"):
            due_now_of(broker)
        return

    asked = ["eta", "later-2", "retrying", "later-1", "pending", "unknown"]
    assert await due_now_of(broker).make_due(asked) == [True, True, True, True, False, False]
    assert (await broker.promote())[0] == 4

    assert sorted(await drain(worker)) == ["eta", "later-1", "later-2", "pending", "retrying"]
    assert await due_now_of(broker).make_due(["eta"]) == [False]


async def test_jobs_that_are_made_due_keep_what_they_are(broker: Broker, worker: Worker) -> None:
    if broker.url.startswith("sqlite"):
        return
    await worker.requeue(await take(worker, "retrying"), meta=WORN, delay=600.0)
    await due_now_of(broker).make_due(["retrying"])
    await broker.promote()

    claim = await worker.claim()
    assert ids(claim) == ["retrying"]
    assert claim.deliveries[0].meta == WORN
