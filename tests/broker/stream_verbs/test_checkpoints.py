"""report and checkpoints: the state of a job, which its next run finds."""

from __future__ import annotations

from aiotask.brokers.streams import Report, Streams
from aiotask.job import Meta, Status

from ...helpers import wait_until_async
from ...seam import GONE, WORN, Worker, finish, send, take, without_trail


async def saved(streams: Streams, id: str) -> bytes | None:
    [found] = await streams.checkpoints([id])
    return found


async def test_the_last_checkpoint_counts_and_each_job_has_its_own(streams: Streams, worker: Worker) -> None:
    one, two = await take(worker, "one"), await take(worker, "two")
    assert await streams.checkpoints(["one", "two"]) == [None, None]
    first = [Report(one, checkpoint=b"1"), Report(two, b"half", b"2")]
    assert await streams.report(first) == [True, True]
    await streams.report([Report(one, checkpoint=b"11"), Report(two, b"most")])

    assert await streams.checkpoints(["two", "none", "one"]) == [b"2", None, b"11"]
    assert await streams.follow("two", "") == b"most"
    assert await streams.follow("one", "") is None
    assert await streams.checkpoints([]) == []


async def test_only_the_run_that_has_the_job_saves(streams: Streams, worker: Worker, other: Worker) -> None:
    job = await take(worker, "job")
    await streams.report([Report(job, checkpoint=b"first run")])
    await streams.recover(worker.name)
    [again] = (await other.claim()).deliveries

    assert await streams.report([Report(job, checkpoint=b"of the dead")]) == [False]
    assert await saved(streams, "job") == b"first run"
    assert await streams.report([Report(again, checkpoint=b"second run")]) == [True]
    assert await saved(streams, "job") == b"second run"


async def test_a_recovery_says_that_there_is_a_checkpoint(streams: Streams, worker: Worker, other: Worker) -> None:
    for id in ("plain", "saved", "blamed", "kept"):
        job = await take(worker, id)
        if id != "plain":
            await streams.report([Report(job, checkpoint=b"state")])
    recovered = await streams.recover(worker.name, blame=["blamed"], reason="SIGKILL", keep=["kept"])

    assert [delivery.meta for delivery in recovered.kept] == [Meta(saved=True)]
    [suspect] = (await other.claim(alone=True)).deliveries
    assert without_trail(suspect) == Meta(deaths=1, reason="SIGKILL", saved=True)
    metas = {delivery.id: delivery.meta for delivery in (await other.claim()).deliveries}
    assert metas == {"plain": Meta(), "saved": Meta(saved=True)}


async def test_counters_stay_beside_it(streams: Streams, worker: Worker, other: Worker) -> None:
    job = await take(worker, "job")
    await worker.requeue(job, meta=WORN)
    [worn] = (await worker.claim()).deliveries
    await streams.report([Report(worn, checkpoint=b"state")])
    await streams.recover(worker.name)
    [again] = (await other.claim()).deliveries

    assert again.meta == Meta(WORN.attempt, WORN.deaths, WORN.reason, saved=True)
    await streams.recover(other.name, blame=["job"], reason="SIGSEGV")
    third = await Worker(worker.broker, "host.3").enlist()
    [suspect] = (await third.claim(alone=True)).deliveries
    assert without_trail(suspect) == Meta(WORN.attempt, WORN.deaths + 1, "SIGSEGV", saved=True)


async def test_it_outlives_a_retry(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await streams.report([Report(job, checkpoint=b"state")])
    await worker.requeue(job, meta=Meta(2, saved=True), delay=0.01)

    async def promoted() -> bool:
        return (await streams.promote())[1] is None

    await wait_until_async(promoted, description="the retry is promoted")
    [again] = (await worker.claim()).deliveries
    assert again.meta == Meta(2, saved=True)
    assert await saved(streams, "job") == b"state"


async def test_the_end_of_a_job_removes_it(streams: Streams, worker: Worker, other: Worker) -> None:
    for id in ("finished", "cancelled", "waiting"):
        job = await take(worker, id)
        await streams.report([Report(job, checkpoint=b"state")])
        if id == "finished":
            await streams.finish_special(worker.name, [finish(job, special=True)])  # type: ignore[attr-defined]
        elif id == "cancelled":
            await streams.cancel(id, GONE, 60.0)
            await streams.recover(worker.name)
            worker = await Worker(worker.broker, "host.2").enlist()
        else:
            await worker.requeue(job, meta=Meta(saved=True), delay=3600.0)
            await streams.cancel(id, GONE, 60.0)
        assert await saved(streams, id) is None
        assert (await streams.status([id]))[0].outcome is not None


async def test_a_dead_letter_that_is_replayed_begins_anew(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await streams.report([Report(job, checkpoint=b"state")])
    end = [finish(job, status=Status.FAILED, dead=True, special=True)]
    await streams.finish_special(worker.name, end)  # type: ignore[attr-defined]
    await streams.replay(["job"])
    [again] = (await worker.claim()).deliveries

    assert (again.meta.saved, again.meta.attempt) == (False, 1)
    assert await saved(streams, "job") is None


async def test_what_a_job_left_that_has_ended_as_a_plain_one_is_swept(streams: Streams, worker: Worker) -> None:
    job = await take(worker, "job")
    await streams.report([Report(job, checkpoint=b"state")])
    await worker.finish(job)
    await send(streams, "later")
    later = await worker.wait_for_job()
    await streams.report([Report(later, checkpoint=b"other")])
    # The first scan of a broker object sweeps.
    await streams.recover()

    assert await streams.checkpoints(["job", "later"]) == [None, b"other"]
