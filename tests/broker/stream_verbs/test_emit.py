"""emit, read_items and leave_stream: each item is kept once, under its number, for one reader that paces the run."""

from __future__ import annotations

from collections.abc import Sequence

from aiotask.broker import Delivery, Notice, Replayed
from aiotask.brokers.streams import KEPT_ITEMS, Emit, Emitted, Reader, Report, Streams
from aiotask.job import Status

from ...helpers import wait_until_async
from ...seam import Worker, drain, listening, take


def items(first: int, last: int) -> list[bytes]:
    return [b"item %d" % number for number in range(first, last + 1)]


def numbered(first: int, last: int) -> list[tuple[int, bytes]]:
    return list(zip(range(first, last + 1), items(first, last), strict=True))


async def emit(worker: Worker, streams: Streams, job: Delivery, first: int, last: int, **options: bool) -> Emitted:
    return await streams.emit(worker.name, Emit(job, first, items(first, last), 60.0, **options))


async def read(streams: Streams, after: int = 0, address: str = "reader", limit: int = 1000) -> Sequence[object]:
    return await streams.read_items("job", after, address, limit)


async def test_items_are_read_in_order_from_any_number_on(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    assert await emit(worker, streams, job, 1, 3) == Emitted(3, 0, Reader.NEVER)
    assert await emit(worker, streams, job, 4, 5) == Emitted(5, 0, Reader.NEVER)

    assert await read(streams) == numbered(1, 5)
    assert await read(streams, 3) == numbered(4, 5)
    assert await read(streams, 1, limit=2) == numbered(2, 3)
    assert await read(streams, 5) == []
    assert await read(streams, 99) == []


async def test_a_run_that_begins_anew_adds_only_what_is_missing(
    streams: Streams, worker: Worker, other: Worker
) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 4)
    await streams.recover(worker.name)
    [again] = (await other.claim()).deliveries

    assert (await emit(worker, streams, job, 5, 6)).yours is False, "the first run goes on although it is dead"
    assert await emit(other, streams, again, 1, 2) == Emitted(4, 0, Reader.NEVER)
    assert (await emit(other, streams, again, 3, 5)).last == 5
    assert await read(streams) == numbered(1, 5)


async def test_a_worker_that_has_registered_again_goes_on(streams: Streams, worker: Worker) -> None:
    """It has another name; the jobs in its hand were given to it under the old one."""
    job = await take(worker, "job")
    renamed = await Worker(worker.broker, f"{worker.name}r2").enlist()

    assert await emit(renamed, streams, job, 1, 2) == Emitted(2, 0, Reader.NEVER)
    assert await streams.report([Report(job, b"half")]) == [True]
    assert await read(streams) == numbered(1, 2)


async def test_items_are_told_to_the_reader_whole(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    async with listening(streams, "reader") as reader:
        await read(streams)
        assert (await emit(worker, streams, job, 1, 2)).reader is Reader.HERE
        await wait_until_async(lambda: len(reader.notices) == 2, description="both items are told")

    assert reader.notices == [Notice("job", item=b"item 1"), Notice("job", item=b"item 2")]


async def test_a_run_learns_how_far_its_reader_is_and_whether_it_is_there(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 5)
    async with listening(streams, "reader"):
        await read(streams, 3)
        assert await emit(worker, streams, job, 6, 5) == Emitted(5, 3, Reader.HERE)
        await streams.leave_stream("job", "another that read before")
        assert (await emit(worker, streams, job, 6, 5)).reader is Reader.HERE
        await streams.leave_stream("job", "reader")
        assert (await emit(worker, streams, job, 6, 5)).reader is Reader.GONE
        await read(streams, 2)
        assert await emit(worker, streams, job, 6, 5) == Emitted(5, 3, Reader.HERE), "what was taken stays taken"
    await wait_until_async(
        lambda: is_gone(worker, streams, job), description="the broker sees that the reader does not listen"
    )


async def is_gone(worker: Worker, streams: Streams, job: Delivery) -> bool:
    return (await emit(worker, streams, job, 6, 5)).reader is Reader.GONE


async def test_who_only_looks_takes_nothing(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 5)

    assert await read(streams, 3, address="") == numbered(4, 5)
    assert await emit(worker, streams, job, 6, 5) == Emitted(5, 0, Reader.NEVER)
    assert await streams.read_items("unknown", 0, "", 10) == []


async def test_a_reader_that_claims_more_than_there_is_does_not_open_the_window(
    streams: Streams, worker: Worker
) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 5)
    await read(streams, 1_000_000)

    assert (await emit(worker, streams, job, 6, 7)).taken == 5
    assert await read(streams, 5) == numbered(6, 7)


async def test_a_run_that_waits_is_told_when_its_reader_goes_on(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 5, waits=True)
    async with listening(streams, worker.name) as run:
        await read(streams, 2)
        await wait_until_async(lambda: run.notices, description="the run is told")
        await read(streams, 4)

    assert run.notices == [Notice("job")], "it is told once for each time that it waits"


async def test_the_last_items_that_were_taken_are_kept(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    last = KEPT_ITEMS + 100
    for first in range(1, last + 1, 50):
        await emit(worker, streams, job, first, first + 49)
    await read(streams, last)

    found = await streams.read_items("job", 0, "", last)
    assert found == numbered(101, last)
    assert await emit(worker, streams, job, last + 1, last + 1) == Emitted(last + 1, last, Reader.GONE)


async def test_items_outlive_their_job_and_go_with_its_outcome(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 2)
    await worker.finish(job)
    assert (await emit(worker, streams, job, 3, 3)).yours is False
    assert await read(streams) == numbered(1, 2)

    assert await streams.forget(["job"]) == [True]
    assert await read(streams) == []


async def test_a_replayed_job_begins_without_items(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await emit(worker, streams, job, 1, 2)
    await worker.finish(job, status=Status.FAILED, dead=True)

    assert await streams.replay(["job"]) == [Replayed.DONE]
    assert await read(streams, address="") == []
    assert await drain(worker) == ["job"]
