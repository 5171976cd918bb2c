"""finish: a job ends once, and its outcome is kept."""

from __future__ import annotations

import time

from aiotask.broker import BATCH_JOBS, Broker, JobState, Liveness, Settled
from aiotask.inspector import Inspector
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import (
    Worker,
    a_push,
    drain,
    finish,
    is_unknown,
    outcome_of,
    sealed_job,
    sealed_outcome,
    send,
    status_of,
    take,
)


async def test_a_finished_job_is_gone_and_its_outcome_stays(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")

    assert await worker.finish(delivery) is Settled.DONE

    assert await broker.status(["a"]) == [JobState(outcome=sealed_outcome("a"))]
    assert await drain(worker) == []
    assert await worker.adopt() == []


async def test_a_second_finish_with_the_same_outcome_was_done_before(worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.finish(delivery)

    assert await worker.finish(delivery) is Settled.BEFORE
    assert await worker.finish(delivery, repeat=True) is Settled.BEFORE


async def test_a_second_finish_with_another_outcome_is_refused(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.finish(delivery)

    second = sealed_outcome("a", Status.FAILED)

    assert await worker.finish(delivery, outcome=second, status=Status.FAILED) is Settled.NOT_YOURS
    assert await worker.finish(delivery, outcome=second, status=Status.FAILED, repeat=True) is Settled.NOT_YOURS
    assert await outcome_of(broker, "a") == sealed_outcome("a")


async def test_an_outcome_that_is_not_kept_is_not_stored(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")

    assert await worker.finish(delivery, result_ttl=0.0) is Settled.DONE
    assert await is_unknown(broker, "a")
    assert await worker.finish(delivery, result_ttl=0.0) is Settled.NOT_YOURS
    assert await worker.finish(delivery, result_ttl=0.0, repeat=True) is Settled.BEFORE


async def test_an_outcome_is_kept_for_its_time(broker: Broker, worker: Worker) -> None:
    await worker.finish(await take(worker, "brief"), result_ttl=0.05)
    await worker.finish(await take(worker, "long"), result_ttl=3600.0)

    await wait_until_async(lambda: is_unknown(broker, "brief"), description="the brief one has expired")
    assert await outcome_of(broker, "long") == sealed_outcome("long")


async def test_a_job_that_went_to_another_worker_is_finished_by_that_one(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    old = await take(worker, "a")
    await broker.recover(worker.name)
    [new] = (await other.claim()).deliveries
    mine, theirs = sealed_outcome("a", value=b"old"), sealed_outcome("a", value=b"new")

    assert await worker.finish(old, outcome=mine) is Settled.NOT_YOURS
    assert await worker.finish(old, outcome=mine, result_ttl=0.0, repeat=True) is Settled.NOT_YOURS
    assert await status_of(broker, "a") is Status.RUNNING

    assert await other.finish(new, outcome=theirs) is Settled.DONE
    assert await worker.finish(old, outcome=mine) is Settled.NOT_YOURS
    assert await outcome_of(broker, "a") == theirs


async def test_a_job_that_waits_for_another_worker_is_not_finished(broker: Broker, worker: Worker) -> None:
    old = await take(worker, "a")
    await broker.recover(worker.name)

    assert await worker.finish(old) is Settled.NOT_YOURS
    assert await status_of(broker, "a") is Status.PENDING


async def test_a_worker_declared_dead_finishes_what_nobody_has_taken_and_is_told_that_it_is_dead(
    broker: Broker, worker: Worker
) -> None:
    delivery = await take(worker, "a")
    await broker.renew(worker.host, 1)
    await broker.declare_dead(worker.host)

    settled, liveness = await broker.finish(worker.name, [finish(delivery)])

    assert (settled, liveness) == ([Settled.DONE], Liveness.DEAD)
    assert await outcome_of(broker, "a") == sealed_outcome("a")


async def test_a_batch_of_finishes_is_answered_one_by_one(broker: Broker, worker: Worker) -> None:
    before, gone, fine = [await take(worker, name) for name in ("before", "gone", "fine")]
    await worker.finish(before)
    await worker.requeue(gone)

    answer = await broker.finish(worker.name, [finish(before), finish(gone), finish(fine)])

    assert answer == ([Settled.BEFORE, Settled.NOT_YOURS, Settled.DONE], Liveness.LIVE)
    assert await broker.finish(worker.name, []) == ([], Liveness.LIVE)


async def test_a_full_batch_is_finished_at_once(broker: Broker, worker: Worker) -> None:
    await send(broker, *(f"job-{n}" for n in range(BATCH_JOBS)))
    deliveries = (await worker.claim()).deliveries

    settled, _ = await broker.finish(worker.name, [finish(delivery, reply="client") for delivery in deliveries])

    assert settled == [Settled.DONE] * BATCH_JOBS
    states = await broker.status([f"job-{n}" for n in range(BATCH_JOBS + 10)])
    assert [state.outcome is not None for state in states] == [True] * BATCH_JOBS + [False] * 10


async def test_what_is_finished_together_need_have_nothing_in_common(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    kinds = [
        (f"job-{priority}-{status}-{ttl:g}", priority, status, ttl)
        for priority in (0, 5)
        for status in (Status.SUCCESS, Status.FAILED)
        for ttl in (0.0, 60.0)
    ]
    batch = []
    for name, priority, status, ttl in kinds:
        await send(broker, a_push(name, priority=priority))
        [delivery] = (await worker.claim()).deliveries
        outcome = sealed_outcome(name, status)
        batch.append(finish(delivery, outcome=outcome, status=status, result_ttl=ttl, dead=status is Status.FAILED))

    assert await broker.finish(worker.name, batch) == ([Settled.DONE] * len(kinds), Liveness.LIVE)

    states = await broker.status([name for name, *_ in kinds])
    assert [state.outcome for state in states] == [
        sealed_outcome(name, status) if ttl else None for name, _, status, ttl in kinds
    ]
    failed = [name for name, _, status, _ in kinds if status is Status.FAILED]
    assert sorted(letter.id for letter in await inspector.dead()) == sorted(failed)
    assert await worker.adopt() == []


async def test_a_delivery_twice_in_one_batch_is_finished_once(broker: Broker, worker: Worker) -> None:
    once, twice = [await take(worker, name) for name in ("once", "twice")]

    settled, _ = await broker.finish(worker.name, [finish(twice), finish(once), finish(twice)])

    assert settled == [Settled.DONE, Settled.DONE, Settled.BEFORE]
    assert await worker.adopt() == []


async def test_a_dead_letter_keeps_job_and_outcome(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    lost = sealed_outcome("pill", Status.FAILED)
    before = time.time()
    await worker.finish(await take(worker, "pill"), outcome=lost, status=Status.FAILED, dead=True)
    await worker.finish(await take(worker, "fine"))

    [letter] = await inspector.dead()

    assert (letter.id, letter.job, letter.outcome) == ("pill", sealed_job("pill"), lost)
    assert before - 1 <= letter.at <= time.time() + 1
    assert await outcome_of(broker, "pill") == lost


async def test_a_job_beside_a_dead_letter_becomes_none(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    names = [f"job-{n}" for n in range(6)]
    await send(broker, *names)
    deliveries = (await worker.claim()).deliveries
    failed = {"status": Status.FAILED, "result_ttl": 60.0}

    await broker.finish(worker.name, [finish(each, dead=n in (1, 2, 4), **failed) for n, each in enumerate(deliveries)])

    assert sorted(letter.id for letter in await inspector.dead()) == ["job-1", "job-2", "job-4"]
    assert {facts.id: facts.queue for facts in await inspector.letters()} == dict.fromkeys(
        ["job-1", "job-2", "job-4"], "default"
    )
