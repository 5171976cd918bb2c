"""What a worker has in hand, driven without a worker: on a broker in memory, with real lanes and a real settler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiotask.broker import Broker, Delivery, Liveness
from aiotask.brokers import connect
from aiotask.job import Meta
from aiotask.tasks.task import Definition, Registry
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named
from aiotask.worker.async_lane import AsyncLane
from aiotask.worker.at_most_once import AtMostOnce
from aiotask.worker.batches import Batches
from aiotask.worker.checkpoints import Checkpoints
from aiotask.worker.executor import resolve
from aiotask.worker.expiry import Expiries
from aiotask.worker.in_hand import InHand
from aiotask.worker.life import Life
from aiotask.worker.membership import Membership
from aiotask.worker.parents import Parents
from aiotask.worker.prefetch import Prefetch
from aiotask.worker.run import NoBoard, Run
from aiotask.worker.seats import Seats
from aiotask.worker.settler import Settler
from aiotask.worker.sync_lane import SyncLane
from aiotask.worker.upstream import Upstream

from .seam import ids, send

TASK = "shop.tasks:render"


async def never(run: Run) -> None:
    raise AssertionError("no run begins in these tests")


def unused(*_: object) -> Any:
    raise AssertionError("no outcome is made in these tests")


def nothing() -> None:
    """The function of the task."""


class Hand:
    """Parts of a worker around what it has in hand; ``is_async`` says which kind of task it serves."""

    def __init__(self, broker: Broker, *, is_async: bool) -> None:
        self.broker = broker
        self.registry = Registry()
        self.registry.add(Definition(TASK, nothing, is_async, nothing))
        self.life, seats, syncs = Life(), Seats(10), SyncLane()
        self.membership = Membership(broker, NoBoard(), host="host", number="1", facts={}, recorded=False)
        self.settler = Settler(broker, self.membership, unused)
        sealer, serializer = Sealer(["test"], "outcome"), serializer_named("cloudpickle")
        asyncs = AsyncLane(seats, never, unused, self.life.stir)
        self.in_hand = InHand(
            self.life,
            self.settler,
            Prefetch(syncs=not is_async, asyncs=is_async, max_in_flight=10),
            Parents(),
            seats,
            asyncs,
            syncs,
            AtMostOnce(broker, self.membership, self.life, seats, asyncs, syncs, lost=unused),
            Upstream(broker, self.life, seats, asyncs, syncs, sealer=sealer, serializer=serializer),
            Batches(self.registry, seats, NoBoard()),
            Expiries(broker),
            Checkpoints(broker, Sealer(["test"], "checkpoint")),
            serializer=serializer,
            close=unused,
        )

    def settled(self, deliveries: list[Delivery], liveness: Liveness) -> None:
        assert liveness is Liveness.LIVE
        self.in_hand.forget(deliveries)

    async def claim(self) -> list[Delivery]:
        claim = await self.broker.claim(self.membership.incarnation, ["default"], [], 10)
        return claim.deliveries

    async def claim_runs(self) -> list[Run]:
        runs = []
        for delivery in await self.claim():
            self.in_hand.claimed[delivery.lane, delivery.entry] = delivery
            run = resolve(delivery, self.registry, Sealer(["test"], "job"), self.membership.name)
            run.owner = self.in_hand
            runs.append(run)
        return runs

    async def fill(self) -> None:
        """Claim what is there, and have it wait in its row."""
        syncs: list[Run] = []
        for run in await self.claim_runs():
            if run.task.is_async:
                self.in_hand.asyncs.put(run)
            else:
                syncs.append(run)
        if syncs:
            # No thread serves them.
            self.in_hand.start(syncs)


@asynccontextmanager
async def hand(app_name: str, *, is_async: bool) -> AsyncIterator[Hand]:
    broker = connect(f"memory://{app_name}", app_name)
    made = Hand(broker, is_async=is_async)
    await made.membership.enlist(lambda: False)
    settling = asyncio.create_task(made.settler.run(made.settled, unused))
    try:
        yield made
    finally:
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        await broker.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_has_not_started_goes_back_in_its_order_without_an_attempt(app_name: str, is_async: bool) -> None:
    async with hand(app_name, is_async=is_async) as made:
        await send(made.broker, "one", "two", "three")
        await made.fill()
        assert list(made.in_hand.ids) == ["one", "two", "three"]

        made.in_hand.give_back_unstarted()
        await made.settler.settle_all()

        assert list(made.in_hand.ids) == [] and not made.in_hand.has_begun
        again = await made.claim()
        assert ids(again) == ["one", "two", "three"]
        assert {delivery.meta.attempt for delivery in again} == {1}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_one_job_is_taken_back_by_its_id_and_the_others_stay(app_name: str, is_async: bool) -> None:
    async with hand(app_name, is_async=is_async) as made:
        await send(made.broker, "one", "two", "three")
        await made.fill()

        assert made.in_hand.take_back("two")
        assert not made.in_hand.take_back("two") and not made.in_hand.take_back("four")
        await made.settler.settle_all()

        assert list(made.in_hand.ids) == ["one", "three"]
        assert ids(await made.claim()) == ["two"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_waits_for_values_of_other_jobs_goes_back_too(app_name: str, is_async: bool) -> None:
    async with hand(app_name, is_async=is_async) as made:
        await send(made.broker, "a", "b", "c")
        for run in await made.claim_runs():
            made.in_hand.upstream.put(run)
        assert made.in_hand.waits and not made.in_hand.has_begun
        assert made.in_hand.take_back("b") and not made.in_hand.take_back("b")
        # No thread and no seat is stuck: nothing is surplus.
        made.in_hand.give_back_surplus()
        await made.settler.settle_all()
        assert ids(await made.claim()) == ["b"]
        made.in_hand.give_back_unstarted()
        await made.settler.settle_all()
        assert sorted(ids(await made.claim())) == ["a", "c"]
        assert not made.in_hand.waits


async def test_a_claim_that_was_asked_for_before_a_relief_can_be_told_from_one_after_it(app_name: str) -> None:
    async with hand(app_name, is_async=False) as made:
        await send(made.broker, "one")
        await made.fill()
        asked_at = made.in_hand.reliefs

        made.in_hand.relieve()
        await made.settler.settle_all()

        assert made.in_hand.reliefs != asked_at
        assert ids(await made.claim()) == ["one"]


async def test_an_answer_that_got_lost_is_adopted_and_nothing_else(app_name: str) -> None:
    def delivery(id: str) -> Delivery:
        return Delivery("q:default:5", f"{id}-0", id, b"", Meta())

    in_hand, claimed, forgotten, lost = map(delivery, ("in_hand", "claimed", "forgotten", "lost"))
    async with hand(app_name, is_async=False) as made:
        made.in_hand.claimed[in_hand.lane, in_hand.entry] = in_hand
        made.in_hand.claimed[forgotten.lane, forgotten.entry] = forgotten

        with made.in_hand.adopting([claimed]) as is_missing:
            # It ends while the broker is asked, whose answer is older.
            made.in_hand.forget([forgotten])
            adopted = [each.id for each in (in_hand, claimed, forgotten, lost) if is_missing(each)]

        assert adopted == ["lost"]


async def test_every_part_that_waits_notices_one_change() -> None:
    life = Life()
    waiting = [asyncio.create_task(life.wait(None)) for _ in range(3)]
    await asyncio.sleep(0)

    life.stir()

    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_a_stop_ends_a_wait_without_end() -> None:
    life = Life()
    waiting = asyncio.create_task(life.wait(None))
    await asyncio.sleep(0)

    life.stop()

    async with asyncio.timeout(30):
        await waiting
    assert life.stopping
