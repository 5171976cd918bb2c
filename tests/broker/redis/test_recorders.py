"""The history on the server: rows that come again, rows in batches, and rows that make room."""

from __future__ import annotations

from collections.abc import Callable

from aiotask.broker import Broker

from ...seam import MakeBroker, Worker, a_push, finish, sealed_job, send, take
from ...server import PrivateServer


async def test_rows_of_a_recorder_that_went_away_come_again(
    own_server: PrivateServer, broker: Broker, worker: Worker, another_broker: MakeBroker, key: Callable[[str], str]
) -> None:
    await broker.read_history("gone", 10, 0.01)
    await worker.finish(await take(worker, "a"))
    await worker.finish(await take(worker, "b"))
    rows = await broker.read_history("gone", 10, 10.0)
    assert len(rows) == 2
    # The next keeper of the same host has the same name, and gets the same rows again.
    assert await another_broker().read_history("gone", 1, 10.0) == rows[:1]
    later = another_broker()
    assert await later.read_history("later", 10, 0.01) == [], "they are still in good hands"

    entries = [row.entry for row in rows]
    own_server.call("XCLAIM", key("history"), "recorders", "gone", 0, *entries, "IDLE", 120_000)

    assert await later.read_history("later", 10, 10.0) == rows
    await later.trim_history(entries)
    assert own_server.call("XLEN", key("history")) == 0


async def test_rows_are_written_whole_however_they_come(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """Small envelopes are sent along with the outcomes, large and partly lost ones are read from the lanes."""
    await broker.start_history()
    large = a_push("large", body=b"x" * 100_000)
    await send(broker, "first", "second", "third", large, "fourth", "gone", "fifth")
    first, second, third, fourth, fifth, gone, last = (await worker.claim()).deliveries
    assert (fourth.id, gone.id) == ("large", "gone")
    own_server.call("XACK", key("q:default:5"), "w", gone.entry)
    own_server.call("XDEL", key("q:default:5"), gone.entry)

    for batch in ([first], [second, third], [fourth, fifth], [gone, last]):
        await broker.finish(worker.name, [finish(delivery) for delivery in batch])

    entries = own_server.call("XRANGE", key("history"), "-", "+")
    assert [int(fields[b"n"]) for _, fields in entries] == [1, 2, 1, 1, 1]
    assert await broker.unrecorded() == 6
    rows = await broker.read_history("recorder", 10, 10.0)
    rows += await broker.read_history("recorder", 10, 10.0)
    assert [row.job for row in rows] == [
        *(sealed_job(name) for name in ("first", "second", "third")),
        large.sealed,
        *(sealed_job(name) for name in ("fourth", "fifth")),
    ]


async def test_the_oldest_rows_make_room(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await broker.start_history()
    await worker.finish(await take(worker, "oldest"))
    await worker.finish(await take(worker, "older"))
    own_server.call("HSET", key("counts"), "unrecorded", 1_000_000)

    await worker.finish(await take(worker, "newest"))

    rows = await broker.read_history("recorder", 10, 10.0)
    assert [row.job for row in rows] == [sealed_job("older"), sealed_job("newest")]
    assert await broker.unrecorded() == 1_000_000
    await broker.trim_history([row.entry for row in rows])
    assert await broker.unrecorded() == 0, "counted anew"
