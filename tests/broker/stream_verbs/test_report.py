"""report and follow: the progress of a job while it runs, for those that ask for it."""

from __future__ import annotations

from aiotask.broker import Notice
from aiotask.brokers.streams import Report, Streams
from aiotask.job import Status

from ...helpers import wait_until_async
from ...seam import GONE, Worker, finish, listening, send, take


async def test_progress_is_kept_and_told_to_those_that_follow(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    assert await streams.follow("job", "first") is None
    assert await streams.follow("job", "second") is None
    assert await streams.follow("job", "second") is None
    async with listening(streams, "first") as first, listening(streams, "second") as second:
        assert await streams.report([Report(job, b"one")]) == [True]
        await streams.unfollow("job", "first")
        assert await streams.report([Report(job, b"two")]) == [True]
        await wait_until_async(lambda: len(second.notices) == 2, description="the follower is told")

    assert second.notices == [Notice("job", progress=b"one"), Notice("job", progress=b"two")]
    assert first.notices == [Notice("job", progress=b"one")]
    assert await streams.follow("job", "") == b"two"


async def test_only_the_run_that_has_the_job_reports(streams: Streams, worker: Worker, other: Worker) -> None:
    job = await take(worker, "job")
    await streams.report([Report(job, b"first run")])
    await streams.recover(worker.name)
    [again] = (await other.claim()).deliveries

    assert await streams.report([Report(job, b"of the dead")]) == [False]
    assert await streams.follow("job", "") == b"first run"
    assert await streams.report([Report(again, b"second run")]) == [True]
    assert await streams.follow("job", "") == b"second run"


async def test_the_end_of_a_job_removes_its_progress(streams: Streams, worker: Worker) -> None:
    for id in ("finished", "cancelled"):
        job = await take(worker, id)
        await streams.follow(id, "client")
        await streams.report([Report(job, b"half")])
        if id == "finished":
            special = [finish(job, special=True)]
            await streams.finish_special(worker.name, special)  # type: ignore[attr-defined]
        else:
            await streams.cancel(id, GONE, 60.0)
            await streams.recover(worker.name)
        assert await streams.follow(id, "client") is None
        assert (await streams.status([id]))[0].outcome is not None


async def test_who_follows_what_has_ended_leaves_nothing_behind(streams: Streams, worker: Worker) -> None:
    await worker.finish(await take(worker, "job"))
    await streams.follow("job", "client")
    await send(streams, "later")
    [later] = (await worker.claim()).deliveries
    async with listening(streams, "client") as client:
        await streams.report([Report(later, b"half")])
        await streams.unfollow("job", "client")

    assert client.notices == []
    assert (await streams.status(["later"]))[0].status is Status.RUNNING
