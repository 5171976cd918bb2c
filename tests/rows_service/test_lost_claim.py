"""A database that has lost the last commits, as after a crash with ``synchronous_commit=off`` or a failover."""

from __future__ import annotations

import msgspec

from aiotask.broker import Finish, Settled
from aiotask.job import Status

from .stage import RowStage


async def test_a_row_whose_claim_was_lost_keeps_what_its_run_has_changed(rows: RowStage) -> None:
    """The row waits again, and the same worker claims it while it runs: that is the lost claim, to the letter."""
    [id] = rows.add(["ok"])
    app_rows = rows.shop.app.rows
    assert app_rows is not None
    broker = app_rows.broker()
    await broker.open()
    await broker.enlist("host.1", "host", msgspec.msgpack.encode({"queues": app_rows.queues}))
    [delivery] = (await broker.claim("host.1", ["plain"], [], 10)).deliveries
    rows.set(id, status="PENDING", worker=None, claims=0)
    again = await broker.claim("host.1", ["plain"], [], 10)
    assert again.deliveries == []
    definition = app_rows.registry.get("shop:Plain")
    assert definition is not None
    definition.function(delivery.id)
    answers, _ = await broker.finish("host.1", [Finish(delivery, b"", Status.SUCCESS, 0.0)])
    assert answers == [Settled.DONE]
    assert (rows.row(id).status, rows.row(id).value) == ("SUCCESS", 1)
    await broker.close()
