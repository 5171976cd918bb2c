"""start_history, read_history and trim_history: finished jobs are kept for recorders."""

from __future__ import annotations

import asyncio

from aiotask.broker import Broker
from aiotask.brokers.history import HistoryRow
from aiotask.inspector import Inspector
from aiotask.job import Meta

from ..seam import GONE, WORN, MakeBroker, Worker, sealed_job, sealed_outcome, send, take


async def test_nothing_is_kept_for_a_recorder_before_there_is_one(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    await worker.finish(await take(worker, "before"))

    assert await broker.read_history("recorder", 10, 0.01) == []
    assert await inspector.unrecorded() == 0


async def test_finished_jobs_are_recorded_in_their_order(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await broker.read_history("recorder", 10, 0.01)
    await worker.requeue(await take(worker, "worn"), meta=WORN)
    [worn] = (await worker.claim()).deliveries
    await worker.finish(worn)
    await worker.finish(await take(worker, "unstored"), result_ttl=0.0)
    await send(broker, "cancelled")
    await broker.cancel("cancelled", GONE, 60.0)
    assert await inspector.unrecorded() == 3

    rows: list[HistoryRow] = []
    while len(rows) < 3:
        rows += await broker.read_history("recorder", 2, 10.0)

    assert [(row.job, row.outcome, row.meta) for row in rows] == [
        (sealed_job("worn"), sealed_outcome("worn"), WORN),
        (sealed_job("unstored"), sealed_outcome("unstored"), Meta()),
        (sealed_job("cancelled"), GONE, Meta()),
    ]
    assert await inspector.unrecorded() == 3, "they are kept until they are safe"
    await broker.trim_history([row.entry for row in rows])
    assert await inspector.unrecorded() == 0
    assert await broker.read_history("recorder", 10, 0.01) == []


async def test_a_recorder_that_waits_gets_the_next_row(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    recorder = another_broker()
    await recorder.read_history("recorder", 10, 0.01)
    reading = asyncio.create_task(recorder.read_history("recorder", 10, 60.0))

    await worker.finish(await take(worker, "a"))

    assert [row.job for row in await reading] == [sealed_job("a")]


async def test_recorders_share_the_rows(broker: Broker, worker: Worker, another_broker: MakeBroker) -> None:
    await broker.read_history("one", 10, 0.01)
    names = [f"job-{n}" for n in range(6)]
    for name in names:
        await worker.finish(await take(worker, name))

    two, rows = another_broker(), await broker.read_history("one", 4, 10.0)
    while len(rows) < 6:
        rows += await two.read_history("two", 4, 10.0)

    assert [row.job for row in rows] == [sealed_job(name) for name in names]


async def test_trimming_no_rows_is_fine(broker: Broker) -> None:
    await broker.read_history("recorder", 10, 0.01)

    await broker.trim_history([])
