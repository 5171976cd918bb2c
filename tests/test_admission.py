"""How many limited jobs a claim may admit, with real lanes and seats and without jobs that run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiotask import Limit
from aiotask.broker import Delivery
from aiotask.brokers import connect
from aiotask.brokers.memory.broker import MemoryBroker
from aiotask.job import WIRE_VERSION, Job, Meta, More
from aiotask.tasks.limits import limited_by
from aiotask.tasks.task import Definition, Registry
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named
from aiotask.worker.admission import Admission
from aiotask.worker.async_lane import AsyncLane
from aiotask.worker.life import Life
from aiotask.worker.membership import Membership
from aiotask.worker.run import NoBoard, Run
from aiotask.worker.seats import Seats
from aiotask.worker.settler import Settler
from aiotask.worker.sync_lane import SyncLane


async def never(run: Run) -> None:
    raise AssertionError("no run begins in these tests")


def unused(*_: object) -> Any:
    raise AssertionError("no outcome is made in these tests")


def nothing() -> None:
    """The function of the tasks."""


def task(name: str, *, is_async: bool) -> Definition:
    return Definition(name, nothing, is_async, nothing, more={"limit": limited_by(Limit(max_running=5), name, nothing)})


class Gate:
    """An admission for three seats and two threads, and the lanes that lead there."""

    def __init__(self, broker: MemoryBroker, kinds: list[bool]) -> None:
        self.broker = broker
        registry = Registry()
        for is_async in kinds:
            registry.add(task(f"is async: {is_async}", is_async=is_async))
        self.life, self.seats, self.syncs = Life(), Seats(3), SyncLane()
        self.syncs.threads = 2
        self.asyncs = AsyncLane(self.seats, never, unused, self.life.stir)
        membership = Membership(broker, NoBoard(), host="host", number="1", facts={}, recorded=False)
        settler = Settler(broker, membership, unused)
        sealer, serializer = Sealer(["test"], "job"), serializer_named("cloudpickle")
        self.admission = Admission(
            *(broker, registry, self.life, settler, self.seats, self.asyncs, self.syncs),
            sealer=sealer,
            serializer=serializer,
        )

    def put(self, id: str, *, is_async: bool, limit: str = "") -> Run:
        """Put a run into its row, as the intake does."""
        job = Job(WIRE_VERSION, id, "task", "default", b"", more=More(limit=limit))
        named = task("task", is_async=is_async) if limit else Definition("task", nothing, is_async, nothing)
        run = Run(Delivery("lane", id, id, b"", Meta()), job, named, "worker", self)
        assert not self.admission.turns_away(run)
        if is_async:
            self.asyncs.put(run)
        else:
            self.syncs.put([run])
        return run

    def take_back(self) -> None:
        self.asyncs.take_back()
        self.syncs.take_back(self)

    @property
    def offered(self) -> int:
        """The seats that the next claim may fill with limited jobs."""
        may_admit = self.admission.offer()
        assert may_admit == (self.broker.free_seats > 0)
        return self.broker.free_seats


@pytest.fixture
async def broker(app_name: str) -> AsyncIterator[MemoryBroker]:
    broker = connect(f"memory://{app_name}", app_name)
    assert isinstance(broker, MemoryBroker)
    yield broker
    await broker.close()


@pytest.mark.parametrize(("is_async", "free"), [(True, 3), (False, 2)], ids=["async", "sync"])
async def test_limited_jobs_that_wait_take_seats_and_plain_ones_take_none(
    broker: MemoryBroker, is_async: bool, free: int
) -> None:
    gate = Gate(broker, [is_async])
    assert gate.offered == free

    gate.put("plain", is_async=is_async)
    assert gate.offered == free
    gate.put("limited", is_async=is_async, limit="slow:")
    assert gate.offered == gate.offered == free - 1

    gate.take_back()
    assert gate.offered == free
    gate.put("again", is_async=is_async, limit="slow:")
    assert gate.offered == free - 1
    for number in range(5):
        gate.put(f"more-{number}", is_async=is_async, limit="slow:")
    assert gate.offered == 0


async def test_none_is_admitted_where_long_jobs_have_taken_all_seats(broker: MemoryBroker) -> None:
    gate = Gate(broker, [True])
    runs = [gate.put(str(number), is_async=True) for number in range(3)]
    gate.take_back()
    for run in runs:
        assert gate.seats.take(run)
    # The lane knows of no run that has begun lately.
    assert gate.offered == 0

    gate.seats.give_back(runs[0])
    assert gate.offered == 1


async def test_a_kind_that_is_full_holds_the_other_one_back_except_for_a_probe(broker: MemoryBroker) -> None:
    gate = Gate(broker, [True, False])
    # The threads are fewer than the seats.
    assert gate.offered == 2

    for number in range(2):
        gate.put(str(number), is_async=False, limit="slow:")
    assert gate.offered == 1
    assert gate.offered == 0
    # A limited job that may start ends the time between two probes.
    gate.put("limited", is_async=True, limit="slow:")
    assert gate.offered == 1
