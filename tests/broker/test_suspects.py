"""Jobs that were blamed for the death of a worker are run alone, by a volunteer."""

from __future__ import annotations

from aiotask.broker import Broker, Settled
from aiotask.job import Meta

from ..helpers import wait_until_async
from ..seam import Worker, a_push, drain, ids, outcome_of, promoted_all, sealed_outcome, send, suspect, without_trail


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
    assert without_trail(delivery) == Meta(deaths=1, reason="killed by SIGSEGV")
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
