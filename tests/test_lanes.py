"""The grammar of lanes, and what every broker says of a delivery by the lane that it came in."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker
from aiotask.brokers.lanes import all_lanes, claim_order, flags_of, is_lane, kind_of_requeue, lane_of, need_of, queue_of

from .helpers import wait_until_async
from .seam import Worker, send


def test_lanes_are_claimed_returned_first_then_parked_then_by_priority() -> None:
    order = claim_order(["a", "b"], ["task:x"])

    assert order[:3] == ["q:a:r", "q:b:r", "parked:task:x"]
    assert order[3:] == [f"q:{queue}:{priority}" for priority in range(10) for queue in ("a", "b")]


def test_all_lanes_of_a_queue_are_the_claimed_ones_and_those_of_suspects_and_of_admitted_jobs() -> None:
    assert all_lanes("a") == ["q:a:s", *claim_order(["a"]), "q:a:g"]


@pytest.mark.parametrize(
    ("lane", "suspect", "returned"),
    [
        ("q:mail:5", False, False),
        ("q:mail:r", False, True),
        ("q:mail:s", True, True),
        ("q:s:0", False, False),
        ("parked:task:x", False, True),
        ("parked:task:s", False, True),
        ("q:mail:g", False, False),
        # Of a later release: nothing is known of what it means, but it is no lane of suspects.
        ("q:mail:v", False, False),
    ],
)
def test_a_lane_says_what_its_jobs_are(lane: str, suspect: bool, returned: bool) -> None:
    assert flags_of(lane) == (suspect, returned)
    assert is_lane(lane)


@pytest.mark.parametrize(
    ("suspect", "behind", "kind"), [(False, -1, "r"), (False, 5, 5), (True, -1, "s"), (True, 5, "s")]
)
def test_what_goes_back_goes_to_a_lane_of_its_kind(suspect: bool, behind: int, kind: str | int) -> None:
    assert kind_of_requeue(suspect=suspect, behind=behind) == kind


def test_queues_and_needs_are_read_back_whatever_is_in_their_names() -> None:
    assert [queue_of(lane_of(queue, 3)) for queue in ("mail", "a:b", "q:x")] == ["mail", "a:b", "q:x"]
    assert (need_of("parked:task:shop.tasks:s"), need_of("q:mail:5")) == ("task:shop.tasks:s", "")


async def test_a_delivery_says_whether_an_earlier_run_may_have_sent_jobs(broker: Broker) -> None:
    worker = await Worker(broker, "host.1", needs=["task:x"]).enlist()
    await send(broker, "job")

    async def claim() -> tuple[bool, bool]:
        [delivery] = (await worker.claim()).deliveries
        held.append(delivery)
        assert await worker.adopt() == [delivery]
        return delivery.suspect, delivery.returned

    held = []
    assert await claim() == (False, False)
    await worker.requeue(held[-1])
    assert await claim() == (False, True)
    await worker.requeue(held[-1], need="task:x")
    assert await claim() == (False, True)
    await worker.requeue(held[-1], behind=5)
    assert await claim() == (False, False), "it has not run: a surplus is as fresh as it was"

    await broker.recover(worker.name, blame=["job"], reason="killed by SIGSEGV")
    other = await Worker(broker, "host.2").enlist()
    [suspect] = (await other.claim(alone=True)).deliveries
    assert (suspect.suspect, suspect.returned) == (True, True)
    recovered = await broker.recover(other.name, keep=["job"])
    assert recovered.kept == [suspect]


async def test_wait_says_it_too(broker: Broker) -> None:
    worker = await Worker(broker, "host.1").enlist()
    await send(broker, "job")
    fresh = await worker.wait_for_job()
    await worker.requeue(fresh, delay=0.01)

    async def promoted() -> bool:
        return (await broker.promote())[1] is None

    await wait_until_async(promoted, description="the retry is promoted")
    again = await worker.wait_for_job()

    assert (fresh.suspect, fresh.returned, again.suspect, again.returned) == (False, False, False, True)
