"""The conformance suite of the broker seam: every verb, on every broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest

from aiotask.broker import (
    BATCH_JOBS,
    Begin,
    Broker,
    Cancelled,
    Delivery,
    Finish,
    JobState,
    Meta,
    Notice,
    Obituary,
    Overflow,
    Push,
    Replayed,
    Room,
    Settled,
    Standing,
)
from aiotask.brokers import connect
from aiotask.brokers.history import HistoryRow
from aiotask.brokers.lanes import lane_of
from aiotask.errors import BrokerError
from aiotask.inspector import Inspector
from aiotask.job import Status

from .helpers import wait_until_async
from .seam import (
    WORN,
    Worker,
    a_push,
    drain,
    finish,
    ids,
    listening,
    requeue,
    sealed_job,
    sealed_outcome,
    send,
)

MakeBroker = Callable[[], Broker]


@pytest.fixture
async def worker(broker: Broker) -> Worker:
    """A live incarnation; it works through an object of its own for whoever sends and keeps."""
    return await Worker(broker, "host.1").enlist()


@pytest.fixture
async def other(another_broker: MakeBroker) -> Worker:
    """Another live one, on another host."""
    return await Worker(another_broker(), "elsewhere.1").enlist()


async def status_of(broker: Broker, id: str) -> Status | None:
    [state] = await broker.status([id])
    return state.status


async def outcome_of(broker: Broker, id: str) -> bytes | None:
    [state] = await broker.status([id])
    return state.outcome


async def take(worker: Worker, id: str) -> Delivery:
    """Send one job and let this worker claim it."""
    await send(worker.broker, id)
    [delivery] = (await worker.claim()).deliveries
    return delivery


async def park(worker: Worker, id: str, need: str) -> None:
    assert await worker.requeue(await take(worker, id), need=need) is Settled.DONE


async def suspect(broker: Broker, job: Push | str, victim: str, queue: str = "default") -> None:
    """Leave a job that killed the incarnation which ran it."""
    dead = await Worker(broker, victim, [queue]).enlist()
    await send(broker, job)
    delivery = await dead.wait_for_job()  # a claim might make it a volunteer for another suspect
    await broker.recover(victim, blame=[delivery.id], reason="killed by SIGSEGV")


# ---- open, close, url


async def test_an_open_broker_says_where_it_is(broker: Broker, broker_url: str) -> None:
    await broker.open()

    assert broker.url == broker_url


async def test_a_broker_that_was_never_used_closes(another_broker: MakeBroker) -> None:
    await another_broker().close()


async def test_what_was_accepted_is_there_after_the_sender_closed(another_broker: MakeBroker, worker: Worker) -> None:
    sender = another_broker()
    await send(sender, "a")
    await sender.close()

    assert ids(await worker.claim()) == ["a"]


# ---- push


async def test_a_pushed_job_is_delivered_as_it_was_sealed(broker: Broker, worker: Worker) -> None:
    body = bytes(range(256)) * 4
    await send(broker, a_push("a", body=body))

    [delivery] = (await worker.claim()).deliveries

    assert delivery.id == "a"
    assert delivery.sealed == sealed_job("a", body=body)
    assert delivery.meta == Meta()
    assert delivery.lane == lane_of("default", 5)
    assert not delivery.suspect


async def test_a_full_batch_is_accepted_in_its_order(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(BATCH_JOBS)]
    await broker.push("client", 1, [a_push(name) for name in names])

    assert await drain(worker) == names


async def test_an_empty_batch_is_accepted(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [])

    assert ids(await worker.claim()) == []


@pytest.mark.trap("library repeats")
async def test_a_batch_that_is_sent_again_is_accepted_once(broker: Broker, worker: Worker) -> None:
    batch = [a_push("a"), a_push("b", delay=0.001), a_push("c", priority=0)]
    await broker.push("client", 1, batch)
    await broker.push("client", 1, batch)
    await wait_until_async(lambda: promoted_all(broker), description="nothing is due any more")

    assert sorted(await drain(worker)) == ["a", "b", "c"]


async def test_a_batch_that_is_sent_again_is_a_repeat_even_when_its_jobs_are_finished(
    broker: Broker, worker: Worker
) -> None:
    await broker.push("client", 1, [a_push("a")])
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, result_ttl=0.0)

    await broker.push("client", 1, [a_push("a")])

    assert await drain(worker) == []


async def test_a_batch_older_than_the_last_is_a_repeat(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [a_push("a")])
    await broker.push("client", 2, [a_push("b")])
    await broker.push("client", 1, [a_push("a")])

    assert await drain(worker) == ["a", "b"]


async def test_a_row_of_batches_is_accepted_in_its_order_and_once(broker: Broker, worker: Worker) -> None:
    row = [[a_push("a"), a_push("b")], [a_push("c")], [a_push("d", priority=0)]]
    await broker.push("client", 1, [])
    assert await broker.push_row("client", 2, row) == 3
    assert await broker.push_row("client", 2, row) == 3, "a repeat is accepted"
    assert await broker.push_row("client", 4, [[a_push("d", priority=0)], [a_push("e")]]) == 2, "half a repeat too"
    await broker.push("client", 5, [a_push("e")])

    assert await drain(worker) == ["d", "a", "b", "c", "e"]


async def test_each_client_counts_for_itself(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [a_push("a")])
    await broker.push("another", 1, [a_push("b")])

    assert await drain(worker) == ["a", "b"]


@pytest.mark.parametrize("where", ["pending", "claimed", "scheduled", "retrying", "parked"])
async def test_a_custom_id_of_an_unfinished_job_is_that_job(broker: Broker, worker: Worker, where: str) -> None:
    await send(broker, a_push("mine", custom=True, body=b"first", delay=3600.0 if where == "scheduled" else 0.0))
    if where in ("claimed", "retrying", "parked"):
        [delivery] = (await worker.claim()).deliveries
        if where == "retrying":
            await worker.requeue(delivery, delay=3600.0)
        elif where == "parked":
            await worker.requeue(delivery, need="task:x")
    before = await status_of(broker, "mine")

    await send(broker, a_push("mine", custom=True, body=b"second"))

    assert await status_of(broker, "mine") is before
    bodies = [delivery.sealed for delivery in (await worker.claim()).deliveries]
    assert bodies == ([sealed_job("mine", body=b"first")] if where == "pending" else [])


async def test_a_custom_id_twice_in_one_batch_is_one_job(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True, body=b"first"), a_push("mine", custom=True, body=b"second"))

    assert [delivery.sealed for delivery in (await worker.claim()).deliveries] == [sealed_job("mine", body=b"first")]


async def test_a_custom_id_with_a_stored_outcome_is_that_job(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery)

    await send(broker, a_push("mine", custom=True))

    assert await drain(worker) == []
    assert await outcome_of(broker, "mine") == sealed_outcome("mine")


async def test_a_custom_id_is_free_again_when_its_outcome_has_expired(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, result_ttl=0.05)
    await wait_until_async(lambda: is_unknown(broker, "mine"), description="the outcome has expired")

    await send(broker, a_push("mine", custom=True))

    assert await drain(worker) == ["mine"]


async def test_a_custom_id_that_is_known_does_not_hold_up_its_batch(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    await send(broker, a_push("a"), a_push("mine", custom=True), a_push("b"))

    assert await drain(worker) == ["mine", "a", "b"]


async def is_unknown(broker: Broker, id: str) -> bool:
    [state] = await broker.status([id])
    return state.status is None and state.outcome is None


# ---- due jobs


async def promoted_all(broker: Broker) -> bool:
    """Promote; true when nothing waits for its time any more."""
    return (await broker.promote())[1] is None


async def test_a_delayed_job_is_scheduled_until_it_is_due(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("later", delay=3600.0))

    assert await status_of(broker, "later") is Status.SCHEDULED
    moved, until = await broker.promote()
    assert moved == 0
    assert until is not None and 3500 < until <= 3600
    assert ids(await worker.claim()) == []


async def test_a_due_job_goes_to_the_lane_of_its_priority(broker: Broker, worker: Worker) -> None:
    await send(broker, "early", a_push("first", priority=0, delay=0.02), a_push("last", priority=9, delay=0.01))
    await wait_until_async(lambda: promoted_all(broker), description="both are promoted")

    assert await drain(worker) == ["first", "early", "last"]
    assert await status_of(broker, "first") is Status.RUNNING


async def test_an_eta_wins_over_a_delay(broker: Broker, worker: Worker) -> None:
    eta = time.time() + 3600
    await send(broker, a_push("later", delay=0.001, eta=eta), a_push("sooner", delay=9000.0, eta=time.time() + 0.02))
    await wait_until_async(lambda: is_pending(broker, "sooner"), description="the sooner one is promoted")

    moved, until = await broker.promote()

    assert moved == 0
    assert until is not None and 3500 < until <= 3600
    assert await drain(worker) == ["sooner"]


async def is_pending(broker: Broker, id: str) -> bool:
    await broker.promote()
    return await status_of(broker, id) is Status.PENDING


async def test_an_eta_in_the_past_is_due_at_once(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("late", eta=time.time() - 3600))
    await broker.promote()

    assert await drain(worker) == ["late"]


async def test_promote_moves_the_earliest_up_to_its_limit(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"job-{n}", delay=0.01 + n / 1000) for n in (2, 0, 1)))
    await wait_until_async(lambda: overdue(broker), description="all three are due")

    assert (await broker.promote(limit=2))[0] == 2
    assert await drain(worker) == ["job-0", "job-1"]

    assert await broker.promote(limit=2) == (1, None)
    assert await drain(worker) == ["job-2"]


async def overdue(broker: Broker) -> bool:
    """The next due job waited so long that the others must be due too (they follow within 10 ms)."""
    moved, until = await broker.promote(limit=0)
    assert moved == 0
    return until is not None and until < -0.01


async def test_nothing_is_due_where_nothing_was_delayed(broker: Broker) -> None:
    assert await broker.promote() == (0, None)


# ---- claim


async def test_jobs_come_by_priority_and_then_by_age(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"{priority}-{n}", priority=priority) for n in (0, 1) for priority in (9, 5, 0, 4)))

    assert await drain(worker) == ["0-0", "0-1", "4-0", "4-1", "5-0", "5-1", "9-0", "9-1"]


async def test_priority_counts_across_queues(broker: Broker, worker: Worker) -> None:
    worker.queues = ["images", "mail"]
    await send(broker, a_push("i5", "images", 5), a_push("m5", "mail", 5), a_push("m1", "mail", 1))
    await send(broker, a_push("i9", "images", 9), a_push("i1", "images", 1))

    assert await drain(worker) == ["i1", "m1", "i5", "m5", "i9"]


async def test_returned_jobs_of_every_queue_come_before_parked_and_fresh_ones(broker: Broker, worker: Worker) -> None:
    await park(worker, "parked", "task:x")
    returned = await take(worker, "returned")
    await send(broker, a_push("urgent", "images", 0))
    await worker.requeue(returned, queue="mail")
    worker.queues, worker.needs = ["images", "mail"], ["task:x"]

    assert await drain(worker) == ["returned", "parked", "urgent"]


@pytest.mark.trap("count per stream")
async def test_a_claim_brings_no_more_than_its_limit(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"job-{n}", priority=n) for n in range(6)))

    assert ids(await worker.claim(0)) == []
    assert ids(await worker.claim(4)) == ["job-0", "job-1", "job-2", "job-3"]
    assert ids(await worker.claim(4)) == ["job-4", "job-5"]


@pytest.mark.trap("large script")
async def test_a_claim_brings_a_whole_batch_at_most(broker: Broker, worker: Worker) -> None:
    await send(broker, *(f"job-{n}" for n in range(BATCH_JOBS + 10)))

    assert len((await worker.claim(10_000)).deliveries) == BATCH_JOBS
    assert len((await worker.claim(10_000)).deliveries) == 10


@pytest.mark.trap("large script")
async def test_large_jobs_come_in_several_claims_and_none_is_left(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(12)]
    await send(broker, *(a_push(name, body=bytes(100_000)) for name in names))

    first = ids(await worker.claim())

    assert 1 <= len(first) < len(names)
    assert first + await drain(worker) == names


async def test_a_claim_leaves_other_queues_alone(broker: Broker, worker: Worker, other: Worker) -> None:
    other.queues = ["mail"]
    await send(broker, a_push("mine"), a_push("theirs", "mail"))

    assert await drain(worker) == ["mine"]
    assert await drain(other) == ["theirs"]


async def test_a_job_is_lent_to_one_worker(another_broker: MakeBroker) -> None:
    workers = [await Worker(another_broker(), f"host.{n}").enlist() for n in range(4)]
    names = [f"job-{n}" for n in range(200)]
    await send(another_broker(), *names)

    claims = await asyncio.gather(*(worker.claim(7) for _ in range(10) for worker in workers))

    claimed = [id for claim in claims for id in ids(claim)]
    assert sorted(claimed) == sorted(names)


async def test_a_claimed_job_is_running(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b")
    await worker.claim(1)

    assert await broker.status(["a", "b", "c"]) == [JobState(Status.RUNNING), JobState(Status.PENDING), JobState()]


async def test_an_incarnation_that_never_enlisted_gets_nothing(broker: Broker) -> None:
    await send(broker, "a")

    claim = await Worker(broker, "host.1").claim()

    assert claim.deliveries == []
    assert claim.standing is Standing.FORGOTTEN
    assert await status_of(broker, "a") is Status.PENDING


@pytest.mark.trap("read of the dead")
async def test_a_dead_incarnation_gets_nothing(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, "a")
    await broker.recover(worker.name)

    claim = await worker.claim()

    assert claim.deliveries == []
    assert claim.standing is Standing.DEAD
    assert (await worker.claim(alone=True)).standing is Standing.DEAD
    assert ids(await other.claim()) == ["a"]


# ---- wait, wake


async def test_wait_brings_what_is_there(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b", "c")

    brought = await worker.wait_for_job()

    assert [brought.id, *await drain(worker)] == ["a", "b", "c"]
    assert brought.sealed == sealed_job("a")
    assert await worker.finish(brought) is Settled.DONE


async def test_wait_wakes_up_for_a_job_of_any_priority(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    keeper = another_broker()
    for priority in (0, 5, 9):
        waiting = asyncio.create_task(worker.wait_for_job())
        await asyncio.sleep(0)
        await send(keeper, a_push(f"job-{priority}", priority=priority))

        assert (await waiting).id == f"job-{priority}"


async def test_wait_wakes_up_for_a_returned_a_due_and_a_parked_job(
    broker: Broker, other: Worker, another_broker: MakeBroker
) -> None:
    waiter = await Worker(another_broker(), "host.1", needs=["task:x"]).enlist()
    returned, retried, parked = [await take(other, name) for name in ("returned", "retried", "parked")]

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(returned)
    assert (await waiting).id == "returned"

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(parked, need="task:x")
    assert (await waiting).id == "parked"

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(retried, delay=0.01)
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    assert (await waiting).id == "retried"


async def test_wait_wakes_up_for_the_jobs_of_the_dead(other: Worker, another_broker: MakeBroker) -> None:
    waiter = await Worker(another_broker(), "host.1").enlist()
    await take(other, "a")

    waiting = asyncio.create_task(waiter.wait_for_job())
    await another_broker().recover(other.name)

    assert (await waiting).id == "a"


async def test_wait_ends_empty_when_its_time_is_over(worker: Worker) -> None:
    claim = await worker.wait(timeout=0.01)

    assert claim.deliveries == []
    assert claim.standing is Standing.LIVE


async def test_wait_leaves_other_queues_and_suspects_alone(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("theirs", "mail"))
    await suspect(broker, "risky", "host.2")
    await worker.wait(timeout=0.01)  # the first one may only have prepared the lanes

    assert (await worker.wait(timeout=0.01)).deliveries == []
    assert await broker.status(["theirs", "risky"]) == [JobState(Status.PENDING)] * 2


async def test_each_job_wakes_one_waiter(another_broker: MakeBroker) -> None:
    workers = [await Worker(another_broker(), f"host.{n}").enlist() for n in range(3)]
    waits = [asyncio.create_task(worker.wait_for_job()) for worker in workers]

    await send(another_broker(), "a", "b", "c")

    assert sorted(delivery.id for delivery in await asyncio.gather(*waits)) == ["a", "b", "c"]


async def test_wake_ends_a_wait(broker: Broker, worker: Worker) -> None:
    waiting = asyncio.create_task(worker.wait(timeout=3600.0))

    async def woken() -> bool:
        await broker.wake()
        return waiting.done()

    await wait_until_async(woken, description="the wait has ended")
    assert (await waiting).deliveries == []

    await send(broker, "a")
    assert (await worker.wait_for_job()).id == "a"


async def test_wake_without_a_wait_does_nothing(broker: Broker, worker: Worker) -> None:
    await broker.wake()
    await send(broker, "a")

    assert (await worker.wait_for_job()).id == "a"
    await broker.wake()


@pytest.mark.trap("cancelled read")
async def test_a_wait_that_was_cancelled_loses_nothing(broker: Broker, worker: Worker) -> None:
    waiting = asyncio.create_task(worker.wait(timeout=3600.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting

    await send(broker, "a")

    async def holds_it() -> bool:
        await worker.claim()
        return ids(await worker.adopt()) == ["a"]

    await wait_until_async(holds_it, description="the worker holds the job")


# ---- adopt


async def test_adopt_finds_every_delivery_of_this_incarnation(broker: Broker, other: Worker, worker: Worker) -> None:
    await park(other, "parked", "task:x")
    await suspect(broker, "risky", "host.2")
    await send(broker, a_push("low", priority=9), a_push("mail", "mail"))
    worker.queues, worker.needs = ["default", "mail"], ["task:x"]
    [alone] = (await worker.claim(alone=True)).deliveries
    claimed = [alone, *(await worker.claim()).deliveries]
    await take(other, "theirs")

    adopted = await worker.adopt()

    assert sorted(ids(adopted)) == ["low", "mail", "parked", "risky"]
    assert {delivery.entry: delivery for delivery in adopted} == {delivery.entry: delivery for delivery in claimed}


@pytest.mark.trap("stranded in the living")
async def test_adopt_finds_more_than_one_call_brings(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(1_100)]
    large = [f"large-{n}" for n in range(3)]
    await send(broker, *names)
    await send(broker, *(a_push(name, "mail", body=bytes(200_000)) for name in large))
    worker.queues = ["default", "mail", "empty"]
    while (await worker.claim()).deliveries:
        pass

    assert ids(await worker.adopt()) == names + large


async def test_adopt_forgets_what_was_settled(worker: Worker) -> None:
    await worker.finish(await take(worker, "finished"))
    await worker.requeue(await take(worker, "retried"), delay=3600.0)
    await worker.requeue(await take(worker, "parked"), need="task:x")

    assert await worker.adopt() == []


# ---- finish


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

    settled, standing = await broker.finish(worker.name, [finish(delivery)])

    assert (settled, standing) == ([Settled.DONE], Standing.DEAD)
    assert await outcome_of(broker, "a") == sealed_outcome("a")


async def test_a_batch_of_finishes_is_answered_one_by_one(broker: Broker, worker: Worker) -> None:
    before, gone, fine = [await take(worker, name) for name in ("before", "gone", "fine")]
    await worker.finish(before)
    await worker.requeue(gone)

    answer = await broker.finish(worker.name, [finish(before), finish(gone), finish(fine)])

    assert answer == ([Settled.BEFORE, Settled.NOT_YOURS, Settled.DONE], Standing.LIVE)
    assert await broker.finish(worker.name, []) == ([], Standing.LIVE)


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

    assert await broker.finish(worker.name, batch) == ([Settled.DONE] * len(kinds), Standing.LIVE)

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


# ---- status, listen


async def test_whoever_sent_the_job_is_told_the_outcome(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client, listening(broker, "stranger") as stranger:
        await worker.finish(await take(worker, "a"), reply="client")
        await worker.finish(await take(worker, "b"), reply="client")

        await wait_until_async(lambda: len(client.notices) >= 2, description="both are told")

        assert client.notices == [Notice("a", sealed_outcome("a")), Notice("b", sealed_outcome("b"))]
        assert stranger.notices == []


async def test_every_listener_of_an_address_is_told(broker: Broker, worker: Worker, another_broker: MakeBroker) -> None:
    async with listening(broker, "client") as one, listening(another_broker(), "client") as two:
        await worker.finish(await take(worker, "a"), reply="client")

        await wait_until_async(lambda: one.notices and two.notices, description="both have heard")

        assert one.notices == two.notices == [Notice("a", sealed_outcome("a"))]


async def test_anybody_may_be_told_something(broker: Broker, another_broker: MakeBroker) -> None:
    async with listening(another_broker(), "operator") as operator:
        assert await broker.tell("operator", Notice("é" * 20, b"x" * 100_000))
        assert await broker.tell("operator", Notice("look"))
        assert not await broker.tell("nobody", Notice("lost", b"x"))

        await wait_until_async(lambda: len(operator.notices) >= 2, description="both have come")

        assert operator.notices == [Notice("é" * 20, b"x" * 100_000), Notice("look")]


async def test_whoever_looked_at_an_unfinished_job_is_told_its_outcome(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await send(broker, "a", "b")
    async with listening(broker, "one") as one, listening(another_broker(), "two") as two:
        await broker.status(["a"], "one")
        await broker.status(["a", "b"], "two")
        await broker.status(["a"], "two")
        for delivery in (await worker.claim()).deliveries:
            await worker.finish(delivery)

        await wait_until_async(lambda: one.notices and two.heard_of("b"), description="both have heard")

        assert one.notices == [Notice("a", sealed_outcome("a"))]
        assert two.notices == [Notice("a", sealed_outcome("a")), Notice("b", sealed_outcome("b"))]


async def test_a_look_at_a_finished_job_answers_and_watches_nothing(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), reply="")

        assert await broker.status(["a", "no-such"], "client") == [JobState(outcome=sealed_outcome("a")), JobState()]

        await worker.finish(await take(worker, "last"), reply="client")
        await wait_until_async(lambda: client.notices, description="the last one is told")
        assert [notice.id for notice in client.notices] == ["last"]


async def test_a_watcher_hears_of_a_job_that_took_a_long_way(broker: Broker, worker: Worker, other: Worker) -> None:
    async with listening(broker, "client") as client:
        delivery = await take(worker, "a")
        await broker.status(["a"], "client")
        await worker.requeue(delivery, delay=0.01, meta=Meta(attempt=2))
        await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
        await worker.claim()
        await broker.recover(worker.name)
        [last] = (await other.claim()).deliveries

        await other.finish(last)

        await wait_until_async(lambda: client.notices, description="the watcher is told")
        assert client.notices == [Notice("a", sealed_outcome("a"))]


@pytest.mark.trap("silent loss")
async def test_a_large_outcome_is_told_or_can_be_looked_up(broker: Broker, worker: Worker) -> None:
    large = sealed_outcome("a", value=bytes(2_000_000))
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), outcome=large, reply="client")

        await wait_until_async(lambda: client.notices, description="the client is told")

        assert client.notices[0].outcome in (None, large)
        assert await outcome_of(broker, "a") == large


async def test_an_outcome_that_is_not_stored_is_told_whole(broker: Broker, worker: Worker) -> None:
    large = sealed_outcome("a", value=bytes(100_000))
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), outcome=large, reply="client", result_ttl=0.0)

        await wait_until_async(lambda: client.notices, description="the client is told")

        assert client.notices == [Notice("a", large)]


async def test_a_batch_tells_everything_to_everybody(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    names = [f"job-{n}" for n in range(100)]
    await send(broker, *names)
    async with listening(broker, "even") as even, listening(another_broker(), "odd") as odd:
        deliveries = (await worker.claim()).deliveries
        batch = [finish(delivery, reply=("even", "odd")[n % 2]) for n, delivery in enumerate(deliveries)]
        await broker.finish(worker.name, batch)

        await wait_until_async(lambda: len(even.notices) + len(odd.notices) == 100, description="all is told")

        assert [notice.id for notice in even.notices] == names[::2]
        assert [notice.id for notice in odd.notices] == names[1::2]


async def test_listening_ends_when_it_is_cancelled(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as gone:
        pass
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), reply="client")
        await wait_until_async(lambda: client.notices, description="the one who listens is told")

    assert gone.notices == []


# ---- requeue


async def test_a_released_job_comes_first_and_as_it_was(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "released")
    await send(broker, a_push("urgent", priority=0))

    assert await worker.requeue(delivery) is Settled.DONE

    assert await status_of(broker, "released") is Status.PENDING
    again, urgent = (await worker.claim()).deliveries
    assert (again.id, again.sealed, again.meta) == ("released", delivery.sealed, Meta())
    assert (again.lane, again.entry) != (delivery.lane, delivery.entry)
    assert urgent.id == "urgent"


async def test_a_job_that_is_retried_later_comes_back_first_when_it_is_due(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "retried")

    await worker.requeue(delivery, meta=Meta(attempt=2), delay=0.01)

    assert await status_of(broker, "retried") is Status.RETRYING
    assert ids(await worker.claim()) == []
    await send(broker, a_push("urgent", priority=0))
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    again, urgent = (await worker.claim()).deliveries
    assert (again.id, again.sealed, again.meta) == ("retried", delivery.sealed, Meta(attempt=2))
    assert urgent.id == "urgent"


async def test_promote_says_when_the_next_retry_is_due(broker: Broker, worker: Worker) -> None:
    await worker.requeue(await take(worker, "a"), meta=Meta(attempt=2), delay=600.0)

    moved, until = await broker.promote()

    assert moved == 0
    assert until is not None and 500 < until <= 600


async def test_the_counters_of_a_job_survive_every_way(broker: Broker, worker: Worker) -> None:
    await worker.requeue(await take(worker, "a"), meta=WORN, delay=0.01)
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    [due] = (await worker.claim()).deliveries
    assert due.meta == WORN

    await worker.requeue(due, need="task:x")
    worker.needs = ["task:x"]
    [parked] = (await worker.claim()).deliveries
    assert parked.meta == WORN

    await worker.requeue(parked)
    [released] = (await worker.claim()).deliveries
    assert released.meta == WORN
    assert (await worker.adopt())[0].meta == WORN


async def test_a_job_may_go_on_in_another_queue(broker: Broker, worker: Worker, other: Worker) -> None:
    other.queues = ["mail"]
    await worker.requeue(await take(worker, "a"), queue="mail")  # to which nobody has ever sent a job

    assert ids(await worker.claim()) == []
    assert ids(await other.claim()) == ["a"]

    await broker.recover(other.name)
    worker.queues = ["mail"]
    assert ids(await worker.claim()) == ["a"]


async def test_a_parked_job_waits_for_a_worker_that_offers_what_it_needs(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await park(worker, "a", "task:shop.tasks:render")

    assert await broker.status(["a"]) == [JobState(Status.PARKED, need="task:shop.tasks:render")]
    assert ids(await worker.claim()) == []
    worker.needs = ["task:other", "python:3.11"]
    assert ids(await worker.claim()) == []

    other.needs = ["python:3.11", "task:shop.tasks:render"]
    [delivery] = (await other.claim()).deliveries
    assert delivery.id == "a"
    assert await broker.status(["a"]) == [JobState(Status.RUNNING)]
    assert await other.finish(delivery) is Settled.DONE


async def test_a_worker_can_ask_what_is_parked(broker: Broker, worker: Worker) -> None:
    await park(worker, "a", "task:x")
    await park(worker, "b", "python:3.11")

    assert await broker.parked(["task:y", "python:3.11", "task:x"]) == ["python:3.11", "task:x"]
    assert await broker.parked([]) == []


@pytest.mark.parametrize("need", ["task:s", "task:shop.tasks:s", "task:r", "task:0"])
async def test_the_name_of_a_need_never_makes_a_suspect(worker: Worker, need: str) -> None:
    await park(worker, "a", need)
    worker.needs = [need]

    [delivery] = (await worker.claim()).deliveries

    assert not delivery.suspect
    await worker.requeue(delivery)
    assert ids(await worker.claim()) == ["a"]


async def test_the_caller_is_told_to_look_when_its_job_is_parked(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    async with listening(broker, "client") as client, listening(another_broker(), "watcher") as watcher:
        delivery = await take(worker, "a")
        await broker.status(["a"], "watcher")
        await worker.requeue(delivery, need="task:x", reply="client")

        await wait_until_async(lambda: client.notices and watcher.notices, description="both are told")
        assert client.notices == watcher.notices == [Notice("a", None)]

        worker.needs = ["task:x"]
        [delivery] = (await worker.claim()).deliveries
        await worker.finish(delivery)
        await wait_until_async(lambda: len(watcher.notices) == 2, description="the watcher hears the end too")


async def test_a_second_requeue_is_refused_or_was_done_before(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.requeue(delivery)

    assert await worker.requeue(delivery) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, repeat=True) is Settled.BEFORE
    assert await drain(worker) == ["a"]


async def test_a_requeue_after_the_end_changes_nothing(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.finish(delivery)

    assert await worker.requeue(delivery) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, delay=0.001) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, need="task:x") is Settled.NOT_YOURS
    assert await broker.promote() == (0, None)
    assert await broker.status(["a"]) == [JobState(outcome=sealed_outcome("a"))]


async def test_a_batch_of_requeues_is_answered_one_by_one(broker: Broker, worker: Worker) -> None:
    gone, fine = [await take(worker, name) for name in ("gone", "fine")]
    await worker.finish(gone)

    answer = await broker.requeue(worker.name, [requeue(gone), requeue(fine)])
    assert answer == ([Settled.NOT_YOURS, Settled.DONE], Standing.LIVE)

    await broker.recover(worker.name)
    assert await broker.requeue(worker.name, []) == ([], Standing.DEAD)


# ---- suspects


async def test_one_volunteer_at_a_time_is_asked_to_take_a_suspect_alone(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await suspect(broker, "risky", "host.2")
    await send(broker, "fine")

    asked = await worker.claim()
    assert asked.suspects
    busy = await other.claim()
    assert not busy.suspects
    assert ids(busy) == ["fine"]
    assert (await worker.claim()).suspects, "it is asked until it has taken the suspect"

    [delivery] = (await worker.claim(alone=True)).deliveries
    assert delivery.id == "risky"
    assert delivery.suspect
    assert delivery.meta == Meta(deaths=1, reason="killed by SIGSEGV")
    assert not (await worker.claim()).suspects


async def test_alone_brings_one_suspect_and_nothing_else(broker: Broker, worker: Worker) -> None:
    await send(broker, "fine")
    assert ids(await worker.claim(alone=True)) == []

    await drain(worker)
    await suspect(broker, "first", "host.2")
    await suspect(broker, a_push("second", "mail"), "host.3", queue="mail")
    worker.queues = ["default", "mail"]
    await send(broker, "another")

    assert ids(await worker.claim(alone=True)) == ["first"]
    assert ids(await worker.claim(alone=True)) == ["second"]
    assert ids(await worker.claim(alone=True)) == []
    assert ids(await worker.claim()) == ["another"]


async def test_a_second_suspect_finds_a_second_volunteer(broker: Broker, worker: Worker, other: Worker) -> None:
    await suspect(broker, "first", "host.2")
    await suspect(broker, "second", "host.3")
    assert (await worker.claim()).suspects
    assert ids(await worker.claim(alone=True)) == ["first"]

    assert (await other.claim()).suspects
    assert ids(await other.claim(alone=True)) == ["second"]


async def test_a_volunteer_that_dies_is_replaced_at_once(broker: Broker, worker: Worker, other: Worker) -> None:
    await suspect(broker, "risky", "host.2")
    assert (await worker.claim()).suspects
    assert not (await other.claim()).suspects
    await broker.recover(worker.name, reason="killed by SIGKILL")

    assert (await other.claim()).suspects
    assert ids(await other.claim(alone=True)) == ["risky"]


async def test_suspects_of_other_queues_are_no_concern(broker: Broker, worker: Worker) -> None:
    await suspect(broker, a_push("risky", "mail"), "host.2", queue="mail")
    await send(broker, "fine")

    claim = await worker.claim()

    assert not claim.suspects
    assert ids(claim) == ["fine"]


async def test_a_suspect_that_is_given_back_is_a_suspect_still(broker: Broker, worker: Worker, other: Worker) -> None:
    await suspect(broker, "risky", "host.2")
    [delivery] = (await worker.claim(alone=True)).deliveries

    await worker.requeue(delivery)
    [delivery] = (await worker.claim(alone=True)).deliveries
    await broker.recover(worker.name)

    [delivery] = (await other.claim(alone=True)).deliveries
    assert delivery.id == "risky"
    assert delivery.meta.deaths == 1


async def test_a_suspect_that_is_retried_is_an_ordinary_job_again(broker: Broker, worker: Worker) -> None:
    await suspect(broker, "risky", "host.2")
    [delivery] = (await worker.claim(alone=True)).deliveries

    await worker.requeue(delivery, meta=Meta(2, 1, "killed by SIGSEGV"), delay=0.01)
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")

    [delivery] = (await worker.claim()).deliveries
    assert not delivery.suspect
    assert delivery.meta == Meta(2, 1, "killed by SIGSEGV")


async def test_a_suspect_is_finished_like_any_job(broker: Broker, worker: Worker) -> None:
    await suspect(broker, "risky", "host.2")
    [delivery] = (await worker.claim(alone=True)).deliveries

    assert await worker.finish(delivery) is Settled.DONE
    assert await outcome_of(broker, "risky") == sealed_outcome("risky")


# ---- reject


async def test_what_is_rejected_is_set_aside_and_counted(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    forged, fine = [await take(worker, name) for name in ("forged", "fine")]

    await broker.reject(worker.name, [(forged, "The seal does not fit.")])

    assert await inspector.rejected() == 1
    # What came in no lane is counted too.
    await broker.reject(worker.name, [(Delivery("", "", "", b"", Meta()), "A forged message.")] * 2)
    assert await inspector.rejected() == 3
    assert await is_unknown(broker, "forged")
    assert ids(await worker.adopt()) == ["fine"]
    assert await worker.finish(forged) is Settled.NOT_YOURS
    assert await worker.finish(fine) is Settled.DONE


async def test_who_waits_for_what_was_rejected_is_told_to_look_and_finds_why(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client:
        await send(broker, a_push("forged", reply="client"))
        [delivery] = (await worker.claim()).deliveries
        await broker.reject(worker.name, [(delivery, "The seal does not fit.")])

        await wait_until_async(lambda: client.notices, description="the sender is told")

    assert client.notices == [Notice("forged")]
    assert await broker.status(["forged", "other"]) == [JobState(refused="The seal does not fit."), JobState()]


async def test_what_was_rejected_already_counts_once(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    delivery = await take(worker, "forged")

    await broker.reject(worker.name, [(delivery, "forged"), (delivery, "forged")])
    await broker.reject(worker.name, [(delivery, "forged")])

    assert await inspector.rejected() == 1


async def test_a_rejected_message_that_borrowed_an_id_does_not_hurt_its_owner(broker: Broker, worker: Worker) -> None:
    forged = await take(worker, "a")
    real = await take(worker, "a")

    await broker.reject(worker.name, [(forged, "forged")])

    assert await status_of(broker, "a") is Status.RUNNING
    assert await worker.finish(real) is Settled.DONE


# ---- cancel

GONE = b"sealed: cancelled"


@pytest.mark.parametrize("where", ["pending", "scheduled", "retrying", "parked", "returned", "suspect"])
async def test_a_job_that_has_not_started_is_cancelled_at_once(
    broker: Broker, worker: Worker, another_broker: MakeBroker, where: str
) -> None:
    job = a_push("a", reply="sender", delay=3600.0 if where == "scheduled" else 0.0)
    if where == "suspect":
        await suspect(broker, job, "host.2")
    else:
        await send(broker, job)
    if where in ("retrying", "parked", "returned"):
        [delivery] = (await worker.claim()).deliveries
        delay, need = 3600.0 if where == "retrying" else 0.0, "task:x" if where == "parked" else ""
        await worker.requeue(delivery, delay=delay, need=need)
    worker.needs = ["task:x"]
    async with listening(broker, "sender") as sender, listening(another_broker(), "watcher") as watcher:
        await broker.status(["a"], "watcher")

        assert await broker.cancel("a", GONE, 60.0) is Cancelled.DONE

        await wait_until_async(lambda: sender.notices and watcher.notices, description="both are told")
        assert sender.notices == watcher.notices == [Notice("a", GONE)]
    assert await broker.status(["a"]) == [JobState(outcome=GONE)]
    assert await broker.promote() == (0, None)
    assert await drain(worker) == []
    assert ids(await worker.claim(alone=True)) == []


async def test_the_outcome_of_a_cancelled_job_is_kept_for_its_time(broker: Broker, worker: Worker) -> None:
    await send(broker, "brief", "unstored")

    assert await broker.cancel("brief", GONE, 0.05) is Cancelled.DONE
    assert await broker.cancel("unstored", GONE, 0.0) is Cancelled.DONE

    assert await is_unknown(broker, "unstored")
    await wait_until_async(lambda: is_unknown(broker, "brief"), description="the outcome has expired")
    assert await broker.cancel("brief", GONE, 60.0) is Cancelled.UNKNOWN


async def test_a_running_job_is_marked_and_its_worker_can_see_it(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b")
    await worker.claim()

    assert await broker.cancels(worker.name, ["b", "a"]) == [None, None]
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.ASKED
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.ASKED

    assert await broker.cancels(worker.name, ["b", "a", "no-such"]) == [None, GONE, None]
    assert await broker.cancels(worker.name, []) == []
    assert await status_of(broker, "a") is Status.RUNNING


async def test_a_finish_that_comes_before_the_worker_sees_the_mark_wins(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await broker.cancel("a", GONE, 60.0)

    assert await worker.finish(delivery) is Settled.DONE

    assert await outcome_of(broker, "a") == sealed_outcome("a")
    assert await broker.cancels(worker.name, ["a"]) == [None]
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.FINISHED
    assert await outcome_of(broker, "a") == sealed_outcome("a")


@pytest.mark.parametrize("how", [{}, {"delay": 3600.0}, {"need": "task:x"}], ids=["release", "retry", "park"])
async def test_a_marked_job_does_not_go_on(
    broker: Broker, worker: Worker, another_broker: MakeBroker, how: dict[str, object]
) -> None:
    worker.needs = ["task:x"]
    await send(broker, a_push("a", reply="sender"))
    [delivery] = (await worker.claim()).deliveries
    async with listening(broker, "sender") as sender, listening(another_broker(), "watcher") as watcher:
        await broker.status(["a"], "watcher")
        await broker.cancel("a", GONE, 60.0)

        assert await worker.requeue(delivery, reply="sender", **how) is Settled.DONE

        await wait_until_async(lambda: sender.notices and watcher.notices, description="both are told")
        assert sender.notices == watcher.notices == [Notice("a", GONE)]
    assert await broker.status(["a"]) == [JobState(outcome=GONE)]
    assert await broker.cancels(worker.name, ["a"]) == [None]
    assert await broker.promote() == (0, None)
    assert await drain(worker) == []


async def test_a_marked_job_whose_worker_dies_is_cancelled(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, a_push("a", reply="client"), "b", "c")
    await worker.claim()
    async with listening(broker, "client") as client:
        await broker.status(["b"], "client")
        await broker.cancel("a", GONE, 60.0)
        await broker.cancel("b", GONE, 60.0)

        await broker.recover(worker.name, blame=["b"], reason="killed by SIGSEGV")

        await wait_until_async(lambda: len(client.notices) == 2, description="both are told")
    assert await broker.status(["a", "b", "c"]) == [
        JobState(outcome=GONE),
        JobState(outcome=GONE),
        JobState(Status.PENDING),
    ]
    assert await drain(other) == ["c"]


async def test_what_is_unknown_cannot_be_cancelled(broker: Broker) -> None:
    assert await broker.cancel("no-such", GONE, 60.0) is Cancelled.UNKNOWN
    assert await is_unknown(broker, "no-such")


# ---- enlist, renew, leases, declare_dead


async def test_an_incarnation_is_live_once_in_its_life(broker: Broker, worker: Worker) -> None:
    with pytest.raises(BrokerError, match="once in its life"):
        await worker.enlist()

    await broker.recover(worker.name)

    with pytest.raises(BrokerError, match="once in its life"):
        await worker.enlist()
    assert (await worker.claim()).standing is Standing.DEAD


async def test_an_incarnation_is_named_after_its_host(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r'"elsewhere\.1" cannot be enlisted on "host"'):
        await broker.enlist("elsewhere.1", "host", b"\x80")


async def test_a_host_is_live_from_its_first_beat(broker: Broker, another_broker: MakeBroker) -> None:
    assert await broker.leases() == {}

    assert await broker.renew("host", 1) is Standing.LIVE
    assert await another_broker().renew("elsewhere", 7) is Standing.LIVE
    assert await broker.renew("host", 2) is Standing.LIVE

    assert await another_broker().leases() == {"host": 2, "elsewhere": 7}


async def test_a_host_whose_keeper_never_beat_is_watched_from_its_first_worker_on(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await send(broker, "a")
    await worker.claim()
    assert await another_broker().leases() == {worker.host: 0}

    assert await another_broker().declare_dead(worker.host, 0) is True

    assert (await another_broker().recover()).moved == 1
    assert (await worker.claim()).standing is Standing.DEAD


async def test_a_host_that_moved_on_is_not_declared_dead(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await broker.renew(worker.host, 1)
    await broker.renew(worker.host, 2)

    assert await another_broker().declare_dead(worker.host, 1) is False

    assert await broker.renew(worker.host, 3) is Standing.LIVE
    assert (await worker.claim()).standing is Standing.LIVE


async def test_a_host_that_stands_still_is_declared_dead_with_its_incarnations(
    broker: Broker, worker: Worker, other: Worker, another_broker: MakeBroker
) -> None:
    await broker.renew(worker.host, 5)
    await other.broker.renew(other.host, 5)

    assert await another_broker().declare_dead(worker.host, 5) is True

    assert await broker.leases() == {other.host: 5}
    assert (await worker.claim()).standing is Standing.DEAD
    assert (await other.claim()).standing is Standing.LIVE
    assert await broker.renew(worker.host, 6) is Standing.DEAD
    assert await other.broker.renew(other.host, 6) is Standing.LIVE
    assert await broker.leases() == {other.host: 6}


async def test_a_host_is_declared_dead_in_any_case_when_no_beat_is_named(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)

    assert await broker.declare_dead(worker.host) is True

    assert await broker.leases() == {}
    assert (await worker.claim()).standing is Standing.DEAD


async def test_a_host_that_is_buried_twice_is_buried_once(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)

    assert await broker.declare_dead(worker.host, 1) is True
    assert await broker.declare_dead(worker.host, 1) is False


async def test_a_buried_host_stays_dead_however_often_it_beats(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)
    await broker.declare_dead(worker.host, 1)

    assert [await broker.renew(worker.host, beat) for beat in (2, 3, 1)] == [Standing.DEAD] * 3
    assert await broker.leases() == {}


async def test_hosts_with_similar_names_are_different_hosts(broker: Broker) -> None:
    names = ["h.1", "h.1.1", "h1.1", "h.x.1", "[h].1", "h%d.1"]
    workers = [await Worker(broker, name).enlist() for name in names]

    await broker.declare_dead("h")

    standings = [(await worker.claim()).standing for worker in workers]
    assert standings == [Standing.DEAD] + [Standing.LIVE] * 5


# ---- recover


async def test_recover_gives_back_what_one_dead_incarnation_held(broker: Broker, worker: Worker, other: Worker) -> None:
    theirs = await take(other, "theirs")
    await send(broker, "a", "b")
    await worker.claim()
    await send(broker, a_push("urgent", priority=0))

    recovered = await broker.recover(worker.name)

    assert (recovered.moved, recovered.held, recovered.more) == (2, [], False)
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
    assert delivery.meta == Meta(3, 1, "killed by SIGSEGV")
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
    assert delivery.meta == Meta(1, 4, "death 4 ü “quoted” " + "x" * 500, known)


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
    assert delivery.meta == Meta(1, 1, "killed by SIGSEGV")


async def test_recover_holds_what_it_is_told_to_hold(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, "held", "back")
    held, _ = (await worker.claim()).deliveries

    recovered = await broker.recover(worker.name, blame=["held"], hold=["held"])

    assert (recovered.moved, recovered.held, recovered.more) == (1, [held], False)
    assert await status_of(broker, "held") is Status.RUNNING
    assert await drain(other) == ["back"]
    lost = sealed_outcome("held", Status.FAILED)
    settled, _ = await broker.finish("", [finish(recovered.held[0], outcome=lost, status=Status.FAILED, dead=True)])
    assert settled == [Settled.DONE]
    assert await outcome_of(broker, "held") == lost


async def test_what_was_held_and_never_finished_is_given_back_by_the_next_scan(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await take(worker, "held")
    await broker.recover(worker.name, hold=["held"])

    assert (await broker.recover()).moved == 1
    assert await drain(other) == ["held"]


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

    assert (recovered.moved, recovered.held, recovered.more) == (0, [], False)
    assert (await worker.claim()).standing is Standing.DEAD


# ---- history


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


# ---- the read side


async def test_facts_say_what_kind_of_broker_it_is(inspector: Inspector) -> None:
    facts = await inspector.facts()

    assert facts.kind in ("memory", "redis", "valkey", "sqlite")
    assert facts.version
    assert facts.durability
    assert abs(facts.time - time.time()) < 60


async def test_queues_are_counted(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    worker.queues = ["default", "mail"]
    await send(broker, *(a_push(f"run-{n}", "mail") for n in range(2)))
    await worker.claim(2)
    await send(broker, *(a_push(f"wait-{n}", priority=n) for n in range(3)))
    await send(broker, a_push("later", "mail", delay=3600.0))

    counts = {queue.name: queue for queue in await inspector.queues()}

    assert (counts["default"].pending, counts["default"].running, counts["default"].scheduled) == (3, 0, 0)
    assert (counts["mail"].pending, counts["mail"].running, counts["mail"].scheduled) == (0, 2, 1)


async def test_live_workers_are_listed_with_their_facts(
    broker: Broker, worker: Worker, other: Worker, inspector: Inspector
) -> None:
    listed = {info.incarnation: info for info in await inspector.workers()}
    assert set(listed) == {worker.name, other.name}
    assert listed[worker.name].host == "host"
    assert listed[worker.name].facts["pid"] == 4711

    await broker.recover(worker.name)
    assert [info.incarnation for info in await inspector.workers()] == [other.name]


async def test_unfinished_jobs_are_listed_by_status(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    running = await take(worker, "running")
    await worker.requeue(await take(worker, "retrying"), meta=WORN, delay=60.0)
    await park(worker, "parked", "task:x")
    await send(broker, a_push("later", delay=60.0), "pending")

    found = {status: [info.id for info in await inspector.jobs(status=status)] for status in Status}

    assert {status: names for status, names in found.items() if names} == {
        Status.RUNNING: ["running"],
        Status.RETRYING: ["retrying"],
        Status.PARKED: ["parked"],
        Status.SCHEDULED: ["later"],
        Status.PENDING: ["pending"],
    }
    assert sorted(info.id for info in await inspector.jobs()) == ["later", "parked", "pending", "retrying", "running"]
    assert await worker.finish(running) is Settled.DONE


async def test_jobs_are_listed_page_by_page_oldest_first(broker: Broker, inspector: Inspector) -> None:
    names = [f"job-{n}" for n in range(7)]
    await send(broker, *names, a_push("elsewhere", "mail"))

    pages = [await inspector.jobs(status=Status.PENDING, queue="default", limit=3, offset=at) for at in (0, 3, 6, 9)]

    assert [[info.id for info in page] for page in pages] == [names[:3], names[3:6], names[6:], []]
    assert [info.id for info in await inspector.jobs(queue="mail")] == ["elsewhere"]


async def test_one_job_can_be_inspected_wherever_it_is(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    assert await inspector.job("a") is None

    await send(broker, "a")
    pending = await inspector.job("a")
    assert pending is not None
    assert (pending.id, pending.status, pending.sealed, pending.meta) == ("a", Status.PENDING, sealed_job("a"), Meta())

    [delivery] = (await worker.claim()).deliveries
    running = await inspector.job("a")
    assert running is not None
    assert (running.status, running.worker) == (Status.RUNNING, worker.name)

    await worker.requeue(delivery, meta=WORN, delay=60.0)
    retrying = await inspector.job("a")
    assert retrying is not None
    assert (retrying.status, retrying.meta, retrying.sealed) == (Status.RETRYING, WORN, sealed_job("a"))
    assert retrying.due_at is not None and abs(retrying.due_at - time.time() - 60) < 30


async def test_a_finished_job_is_inspected_by_its_outcome(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    failed = sealed_outcome("a", Status.FAILED)
    await worker.finish(await take(worker, "a"), outcome=failed, status=Status.FAILED)

    found = await inspector.job("a")

    assert found is not None
    assert (found.status, found.outcome) == (Status.FAILED, failed)


async def test_dead_letters_are_listed_page_by_page_newest_first(worker: Worker, inspector: Inspector) -> None:
    for name in ("one", "two", "three"):
        await worker.finish(await take(worker, name), dead=True)

    assert [letter.id for letter in await inspector.dead(limit=2)] == ["three", "two"]
    assert [letter.id for letter in await inspector.dead(limit=2, offset=2)] == ["one"]
    assert await inspector.dead_letter("two") == (await inspector.dead())[1]
    assert await inspector.dead_letter("four") is None


async def test_a_dead_letter_is_replayed_once_as_a_fresh_job(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    lost = sealed_outcome("pill", Status.FAILED)
    await send(broker, a_push("pill", "mail", 2, body=b"J[1]", reply="client"))
    worker.queues = ["mail", "default"]
    [delivery] = (await worker.claim()).deliveries
    assert await worker.requeue(delivery, queue="mail", meta=WORN) is Settled.DONE
    await worker.finish((await worker.claim()).deliveries[0], outcome=lost, status=Status.FAILED, dead=True)

    assert await broker.replay(["pill", "unknown", "pill"]) == [Replayed.DONE, Replayed.MISSING, Replayed.MISSING]
    assert await inspector.dead() == [] and await status_of(broker, "pill") is Status.PENDING
    # Its outcome is another one from now on, and whoever asks for it by its id waits for that.
    [again] = (await worker.claim()).deliveries
    assert (again.id, again.lane, again.meta) == ("pill", lane_of("mail", 2), Meta(series=again.meta.series))
    async with listening(broker, "asker") as asker:
        assert (await broker.status(["pill"], "asker"))[0].status is Status.RUNNING
        assert await worker.finish(again, outcome=sealed_outcome("pill")) is Settled.DONE
        await wait_until_async(lambda: asker.heard_of("pill"), description="the asker is told")
    assert await outcome_of(broker, "pill") == sealed_outcome("pill")
    assert await broker.replay(["pill"]) == [Replayed.MISSING] and await drain(worker) == []


async def test_a_dead_letter_whose_id_means_a_later_job_stays(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    lost = sealed_outcome("a", Status.FAILED)
    await worker.finish(await take(worker, "a"), outcome=lost, status=Status.FAILED, result_ttl=0, dead=True)
    # The outcome is forgotten, so the id is free again.
    delivery = await take(worker, "a")
    assert await broker.replay(["a"]) == [Replayed.OUTDATED]
    await worker.finish(delivery)
    assert await broker.replay(["a"]) == [Replayed.OUTDATED] and await drain(worker) == []
    assert [letter.id for letter in await inspector.dead()] == ["a"]
    assert await outcome_of(broker, "a") == sealed_outcome("a")


async def test_dead_letters_are_removed_for_good(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    for name in ("one", "two"):
        await worker.finish(await take(worker, name), dead=True)

    assert await broker.discard(["one", "unknown"]) == [True, False]
    assert await broker.discard(["one"]) == [False]
    assert [letter.id for letter in await inspector.dead()] == ["two"]
    # What it ended with is its sender's, until the TTL.
    assert await outcome_of(broker, "one") == sealed_outcome("one")


# ---- apps


async def test_apps_at_one_place_do_not_meet(broker: Broker, worker: Worker, broker_url: str, app_name: str) -> None:
    neighbour = connect(broker_url, f"{app_name}-neighbour")
    try:
        await send(neighbour, "theirs")
        await send(broker, "mine")

        assert await drain(worker) == ["mine"]
        assert await is_unknown(broker, "theirs")
        assert (await Worker(neighbour, worker.name).claim()).standing is Standing.FORGOTTEN
    finally:
        await neighbour.close()


async def test_a_surplus_goes_behind_what_waits_with_its_priority(broker: Broker, worker: Worker) -> None:
    first = await take(worker, "first")
    await send(broker, "second", "third")

    await worker.requeue(first, behind=5)

    assert await drain(worker) == ["second", "third", "first"]


# ---- begin: once at most

LOST = b"sealed: lost"


async def test_a_job_that_has_begun_is_not_run_again_whatever_becomes_of_its_worker(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await send(broker, a_push("begun", reply="client"), "waiting", "cancelled")
    begun, waiting, cancelled = (await worker.claim()).deliveries
    assert await broker.begin(worker.name, [Begin(begun, LOST, 60.0), Begin(cancelled, LOST, 60.0)]) == [True, True]
    assert await broker.begin(worker.name, [Begin(begun, LOST, 60.0)]) == [True], "an answer got lost"
    assert await broker.begin(other.name, [Begin(waiting, LOST, 60.0)]) == [False]
    assert await status_of(broker, "begun") is Status.RUNNING
    assert await broker.cancels(worker.name, ["begun"]) == [None]
    await broker.cancel("cancelled", GONE, 60.0)

    async with listening(broker, "client") as client:
        await broker.recover(worker.name, blame=["begun"], reason="killed by SIGSEGV")
        await wait_until_async(lambda: client.notices, description="who waits is told")

    assert client.notices == [Notice("begun", LOST)]
    assert await broker.status(["begun", "cancelled"]) == [JobState(outcome=LOST), JobState(outcome=GONE)]
    assert await broker.begin(worker.name, [Begin(waiting, LOST, 60.0)]) == [False], "it is not this worker's any more"
    assert await drain(other) == ["waiting"]


async def test_a_job_that_has_begun_ends_as_any_other_or_goes_back_unstarted(broker: Broker, worker: Worker) -> None:
    await send(broker, "done", "back", "cancelled")
    done, back, cancelled = (await worker.claim()).deliveries
    await broker.begin(worker.name, [Begin(each, LOST, 60.0) for each in (done, back, cancelled)])
    await broker.cancel("cancelled", GONE, 60.0)

    assert await worker.finish(done) is Settled.DONE
    assert await worker.requeue(back) is Settled.DONE
    assert await worker.requeue(cancelled) is Settled.DONE

    assert await outcome_of(broker, "done") == sealed_outcome("done")
    assert await outcome_of(broker, "cancelled") == GONE
    [again] = (await worker.claim()).deliveries
    await broker.recover(worker.name)
    assert again.id == "back"
    assert await status_of(broker, "back") is Status.PENDING, "what was left for it is forgotten"


# ---- room: queues that are full


async def test_a_full_queue_takes_no_more_and_harms_nobody_else(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    room = Room({"default": 3, "": 1})
    await broker.push("a", 1, [a_push("urgent", priority=0), a_push("low", priority=9)], room)
    batch = [a_push("third"), a_push("full"), a_push("mail-1", "mail"), a_push("mail-2", "mail"), a_push("fuller")]
    batch += [a_push("later", delay=3600.0), a_push("low", custom=True)]

    for _ in range(2):
        refused = await another_broker().push("b", 1, batch, room)
        assert refused == Overflow(["full", "mail-2", "fuller"]), "the same answer to a repeat"
    assert await broker.push("b", 2, [a_push("no-limit")]) is None

    [urgent, *_] = (await worker.claim(2)).deliveries
    assert urgent.id == "urgent"
    assert await broker.push("b", 3, [a_push("full"), a_push("fuller")], room) == Overflow(["fuller"])
    await worker.requeue((await worker.claim(1)).deliveries[0])
    assert await broker.push("b", 4, [a_push("fuller")], room) == Overflow(["fuller"]), "what went back counts too"
    worker.queues = ["default", "mail"]
    assert sorted(await drain(worker)) == sorted(["no-limit", "full", "low", "mail-1"])
    assert await status_of(broker, "later") is Status.SCHEDULED


async def test_the_oldest_of_a_full_queue_make_room(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, a_push("running", priority=9))
    await worker.claim()
    room = Room({"default": 3}, oldest=True)
    await broker.push("a", 1, [a_push("old", priority=9, reply="sender"), a_push("mid"), a_push("new")], room)
    refused = await broker.push("a", 2, [a_push("x"), a_push("y")], room)
    assert refused is not None
    assert refused.full == ["x", "y"]
    assert ids(refused.oldest) == ["old", "mid"]

    [new] = (await broker.claim(other.name, ["default"], (), 1)).deliveries
    assert new.id == "mid", "somebody was quicker"
    drop = [Finish(each, GONE, Status.CANCELLED, 60.0, "sender") for each in refused.oldest]
    async with listening(broker, "sender") as sender:
        for _ in range(2):
            assert await broker.push("a", 3, [a_push("x"), a_push("y")], room, drop) is None
        await wait_until_async(lambda: sender.notices, description="the sender of the old one is told")

    assert sender.notices == [Notice("old", GONE)]
    assert await broker.status(["old"]) == [JobState(outcome=GONE)]
    assert await status_of(broker, "mid") is Status.RUNNING
    assert await drain(worker) == ["new", "x", "y"]
