"""recover: jobs that a dead worker had claimed run again."""

from __future__ import annotations

import pytest

from aiotask.broker import BATCH_JOBS, Broker, JobState, Liveness, Settled
from aiotask.job import Meta, Obituary, Status

from ..seam import (
    WORN,
    MakeBroker,
    Worker,
    a_push,
    drain,
    finish,
    ids,
    outcome_of,
    park,
    sealed_job,
    sealed_outcome,
    send,
    status_of,
    suspect,
    take,
    without_trail,
)


async def test_recover_gives_back_what_one_dead_incarnation_held(broker: Broker, worker: Worker, other: Worker) -> None:
    theirs = await take(other, "theirs")
    await send(broker, "a", "b")
    await worker.claim()
    await send(broker, a_push("urgent", priority=0))

    recovered = await broker.recover(worker.name)

    assert (recovered.moved, recovered.kept, recovered.more) == (2, [], False)
    assert await drain(other) == ["a", "b", "urgent"]
    assert await other.finish(theirs) is Settled.DONE
    assert await worker.adopt() == []


async def test_a_scan_gives_back_what_is_held_by_nobody_who_is_live(
    broker: Broker, worker: Worker, other: Worker, another_broker: MakeBroker
) -> None:
    second = await Worker(another_broker(), "host.2").enlist()
    held = [await take(holder, name) for holder, name in ((worker, "a"), (second, "b"), (other, "c"))]
    await broker.renew("host", 1)
    assert (await broker.recover()).moved == 0

    await broker.declare_dead("host", 1)
    recovered = await broker.recover()

    assert (recovered.moved, recovered.more) == (2, False)
    assert sorted(await drain(other)) == ["a", "b"]
    assert await other.finish(held[2]) is Settled.DONE
    assert (await broker.recover()).moved == 0


async def test_a_job_keeps_its_counters_when_its_worker_dies_without_blame(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await worker.requeue(await take(worker, "a"), meta=WORN)
    await worker.claim()

    await broker.recover(worker.name, blame=["no-such"], reason="out of memory")

    [delivery] = (await other.claim()).deliveries
    assert delivery.meta == WORN
    assert not delivery.suspect


async def test_a_job_that_is_blamed_becomes_a_suspect(broker: Broker, worker: Worker, other: Worker) -> None:
    await worker.requeue(await take(worker, "pill"), meta=Meta(attempt=3))
    await send(broker, "fine")
    await worker.claim()

    await broker.recover(worker.name, blame=["pill"], reason="killed by SIGSEGV")

    assert (await other.claim()).suspects
    [delivery] = (await other.claim(alone=True)).deliveries
    assert delivery.id == "pill"
    assert delivery.sealed == sealed_job("pill")
    assert without_trail(delivery) == Meta(3, 1, "killed by SIGSEGV")
    assert await drain(other) == ["fine"]


async def test_every_death_is_counted(broker: Broker) -> None:
    await suspect(broker, "pill", "host.1")
    known = Obituary(11, 0, 5 * 2**30, "File “shop”\n" * 300, "ü\n" * 3000)
    for death, obituary in ((2, known), (3, None), (4, known)):
        victim = await Worker(broker, f"host.{death}").enlist()
        assert ids(await victim.claim(alone=True)) == ["pill"]
        reason = f"death {death} ü “quoted” " + "x" * 500
        await broker.recover(victim.name, blame=["pill"], reason=reason, obituary=obituary)

    last = await Worker(broker, "host.5").enlist()
    [delivery] = (await last.claim(alone=True)).deliveries
    assert without_trail(delivery) == Meta(1, 4, "death 4 ü “quoted” " + "x" * 500, known)


async def test_a_parked_job_goes_back_to_its_parked_lane(broker: Broker, worker: Worker, other: Worker) -> None:
    await park(worker, "a", "task:x")
    worker.needs = ["task:x"]
    await worker.claim()

    await broker.recover(worker.name)

    assert await broker.status(["a"]) == [JobState(Status.PARKED, need="task:x")]
    assert ids(await other.claim()) == []
    other.needs = ["task:x"]
    assert ids(await other.claim()) == ["a"]


async def test_a_parked_job_that_is_blamed_becomes_a_suspect_too(broker: Broker, worker: Worker, other: Worker) -> None:
    await park(worker, "pill", "task:x")
    worker.needs = other.needs = ["task:x"]
    await worker.claim()

    await broker.recover(worker.name, blame=["pill"], reason="killed by SIGSEGV")

    [delivery] = (await other.claim(alone=True)).deliveries
    assert without_trail(delivery) == Meta(1, 1, "killed by SIGSEGV")


async def test_recover_leaves_the_jobs_to_keep_with_the_caller(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, "kept", "back")
    kept, _ = (await worker.claim()).deliveries

    recovered = await broker.recover(worker.name, blame=["kept"], keep=["kept"])

    assert (recovered.moved, recovered.kept, recovered.more) == (1, [kept], False)
    assert await status_of(broker, "kept") is Status.RUNNING
    assert await drain(other) == ["back"]
    lost = sealed_outcome("kept", Status.FAILED)
    settled, _ = await broker.finish("", [finish(recovered.kept[0], outcome=lost, status=Status.FAILED, dead=True)])
    assert settled == [Settled.DONE]
    assert await outcome_of(broker, "kept") == lost


async def test_a_job_that_was_kept_and_never_finished_is_given_back_by_the_next_scan(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await take(worker, "kept")
    await broker.recover(worker.name, keep=["kept"])

    assert (await broker.recover()).moved == 1
    assert await drain(other) == ["kept"]


@pytest.mark.trap("large script")
async def test_recover_moves_a_batch_a_call(broker: Broker, worker: Worker, other: Worker) -> None:
    names = [f"job-{n:04}" for n in range(2 * BATCH_JOBS + 10)]
    await send(broker, *names)
    assert len(await drain(worker)) == len(names)

    first = await broker.recover(worker.name)
    assert (first.moved, first.more) == (BATCH_JOBS, True)
    second = await broker.recover(worker.name)
    assert (second.moved, second.more) == (BATCH_JOBS, True)
    third = await broker.recover(worker.name)
    assert (third.moved, third.more) == (10, False)

    assert await drain(other) == names


async def test_a_recovered_job_is_claimed_again_and_its_first_holder_is_refused(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    old = await take(worker, "a")
    await broker.recover(worker.name)
    [new] = (await other.claim()).deliveries

    assert await worker.requeue(old) is Settled.NOT_YOURS
    assert await worker.requeue(old, need="task:x") is Settled.NOT_YOURS
    await broker.reject(worker.name, [(old, "forged")])
    assert await status_of(broker, "a") is Status.RUNNING
    assert await other.finish(new) is Settled.DONE


async def test_recovering_an_incarnation_that_holds_nothing_buries_it(broker: Broker, worker: Worker) -> None:
    recovered = await broker.recover(worker.name)

    assert (recovered.moved, recovered.kept, recovered.more) == (0, [], False)
    assert (await worker.claim()).liveness is Liveness.DEAD
