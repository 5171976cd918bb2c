"""The inspector: what can be read about queues, workers, jobs and dead letters."""

from __future__ import annotations

import time

from aiotask.broker import Broker, Settled
from aiotask.inspector import Inspector, LetterFacts
from aiotask.job import WIRE_VERSION, Meta, Status
from aiotask.outcome import ErrorInfo, Outcome, encode_outcome
from aiotask.wire.seal import Sealer

from ..seam import WORN, Worker, a_push, park, sealed_job, sealed_outcome, send, take


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


async def test_parked_jobs_and_dead_letters_are_those_of_their_queue(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    worker.queues = ["cpu", "mail"]
    await send(broker, a_push("waits", "cpu"), *(a_push(f"dead-{n}", "mail") for n in range(3)))
    for delivery in (await worker.claim(4)).deliveries:
        if delivery.id != "waits":
            await worker.finish(delivery, status=Status.FAILED, dead=True)
    await send(broker, a_push("other", "mail"))
    (other,) = (await worker.claim(1)).deliveries
    assert await worker.requeue(other, queue="mail", need="task:missing") is Settled.DONE

    counts = {queue.name: (queue.dead, queue.parked) for queue in await inspector.queues()}

    assert (counts["cpu"], counts["mail"]) == ((0, 0), (3, 1))


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
    assert {info.id: info.need for info in await inspector.jobs() if info.need} == {"parked": "task:x"}
    assert await worker.finish(running) is Settled.DONE

    worker.needs = ["task:x"]
    await worker.claim()
    found_again = await inspector.job("parked")
    assert found_again is not None and (found_again.status, found_again.need) == (Status.RUNNING, "")


async def test_jobs_are_listed_oldest_first(broker: Broker, inspector: Inspector) -> None:
    names = [f"job-{n}" for n in range(7)]
    await send(broker, *names, a_push("elsewhere", "mail"))

    first = await inspector.jobs(status=Status.PENDING, queue="default", limit=3)

    assert [info.id for info in first] == names[:3]
    assert [info.id for info in await inspector.jobs(status=Status.PENDING, queue="default")] == names
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
    assert await inspector.dead_letter("two") == (await inspector.dead())[1]
    assert await inspector.dead_letter("four") is None


async def test_facts_of_dead_letters_are_on_pages_newest_first(worker: Worker, inspector: Inspector) -> None:
    error = ErrorInfo("builtins.KeyError", "'mail'\nand more lines")
    for name in ("one", "two", "three"):
        outcome = Outcome(WIRE_VERSION, name, "shop.tasks:render", Status.FAILED, error=error)
        sealed = Sealer(["test"], "outcome").seal(encode_outcome(outcome))
        await worker.finish(await take(worker, name), outcome=sealed, status=Status.FAILED, dead=True)

    first = await inspector.letters(limit=2)
    rest = await inspector.letters((first[-1].at, first[-1].id), limit=2)

    assert [facts.id for facts in [*first, *rest]] == ["three", "two", "one"]
    assert first[0] == LetterFacts("three", first[0].at, "shop.tasks:render", "default", "KeyError: 'mail'")
    assert {letter.id: letter.at for letter in await inspector.dead()} == {each.id: each.at for each in [*first, *rest]}
    assert await inspector.letters((rest[-1].at, rest[-1].id)) == []


async def test_a_place_among_dead_letters_may_be_of_one_that_is_gone(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    for name in ("one", "two", "three"):
        await worker.finish(await take(worker, name), dead=True)
    latest, second, _ = await inspector.letters()

    await broker.discard([second.id])

    assert [facts.id for facts in await inspector.letters((latest.at, latest.id))] == ["one"]
    assert [facts.id for facts in await inspector.letters((second.at, second.id))] == ["one"]
