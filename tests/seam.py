"""Short words for driving a broker through its seam, as workers and clients do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from aiotask.broker import (
    BATCH_JOBS,
    Broker,
    Claim,
    Delivery,
    Finish,
    Notice,
    Push,
    Requeue,
    Settled,
)
from aiotask.job import RELEASE, WIRE_VERSION, Job, Meta, Status, encode_job
from aiotask.outcome import Outcome, encode_outcome
from aiotask.wire.seal import Sealer

__all__ = [
    "GONE",
    "WORN",
    "Listener",
    "MakeBroker",
    "Worker",
    "a_push",
    "drain",
    "finish",
    "ids",
    "is_pending",
    "is_unknown",
    "listening",
    "outcome_of",
    "park",
    "promoted_all",
    "requeue",
    "sealed_job",
    "sealed_outcome",
    "send",
    "status_of",
    "suspect",
    "take",
    "without_trail",
]

MakeBroker = Callable[[], Broker]

#: The outcome of a job that was cancelled.
GONE = b"sealed: cancelled"
#: A run that comes after some that went wrong.
WORN = Meta(attempt=3, deaths=1, reason="killed by SIGSEGV")

_jobs = Sealer(["test"], "job")
_outcomes = Sealer(["test"], "outcome")
_clients = itertools.count(1)


def sealed_job(id: str, queue: str = "default", *, body: bytes = b"", priority: int = 5, reply: str = "") -> bytes:
    return _jobs.seal(encode_job(Job(WIRE_VERSION, id, "shop.tasks:render", queue, body, priority, reply=reply)))


def sealed_outcome(id: str, status: Status = Status.SUCCESS, value: bytes = b"42") -> bytes:
    return _outcomes.seal(encode_outcome(Outcome(WIRE_VERSION, id, "shop.tasks:render", status, value=value)))


def a_push(
    id: str, queue: str = "default", priority: int = 5, *, body: bytes = b"", reply: str = "", **options: Any
) -> Push:
    return Push(id, queue, priority, sealed_job(id, queue, body=body, priority=priority, reply=reply), **options)


async def send(broker: Broker, *jobs: Push | str) -> None:
    """Push jobs, each given whole or by its id, as a client of its own."""
    pushes = [a_push(job) if isinstance(job, str) else job for job in jobs]
    client = f"client-{next(_clients)}"
    for sequence, start in enumerate(range(0, len(pushes), BATCH_JOBS), start=1):
        await broker.push(client, sequence, pushes[start : start + BATCH_JOBS])


def ids(deliveries: Sequence[Delivery] | Claim) -> list[str]:
    """The job ids in what a claim brought, in its order."""
    if isinstance(deliveries, Claim):
        deliveries = deliveries.deliveries
    return [delivery.id for delivery in deliveries]


@dataclasses.dataclass
class Worker:
    """One incarnation that works through a broker object."""

    broker: Broker
    name: str
    queues: Sequence[str] = ("default",)
    needs: Sequence[str] = ()

    @property
    def host(self) -> str:
        return self.name.rpartition(".")[0]

    async def enlist(self) -> Worker:
        facts = {"host": self.host, "queues": list(self.queues), "pid": 4711, "release": RELEASE}
        await self.broker.enlist(self.name, self.host, msgspec.msgpack.encode(facts))
        return self

    async def claim(self, limit: int = BATCH_JOBS, *, alone: bool = False) -> Claim:
        return await self.broker.claim(self.name, self.queues, self.needs, limit, alone=alone)

    async def wait(self, timeout: float = 30.0) -> Claim:
        return await self.broker.wait(self.name, self.queues, self.needs, timeout)

    async def wait_for_job(self) -> Delivery:
        """Wait until a job is there, the only one, however often the broker looks up in between."""
        async with asyncio.timeout(30):
            while True:
                claim = await self.wait()
                if claim.deliveries:
                    [delivery] = claim.deliveries
                    return delivery

    async def adopt(self) -> list[Delivery]:
        return await self.broker.adopt(self.name, self.queues, self.needs)

    async def finish(self, delivery: Delivery, **options: Any) -> Settled:
        repeat = options.pop("repeat", False)
        [settled], _ = await self.broker.finish(self.name, [finish(delivery, **options)], repeat=repeat)
        return settled

    async def requeue(self, delivery: Delivery, **options: Any) -> Settled:
        repeat = options.pop("repeat", False)
        [settled], _ = await self.broker.requeue(self.name, [requeue(delivery, **options)], repeat=repeat)
        return settled


def finish(delivery: Delivery, **options: Any) -> Finish:
    options.setdefault("outcome", sealed_outcome(delivery.id))
    options.setdefault("status", Status.SUCCESS)
    options.setdefault("result_ttl", 3600.0)
    return Finish(delivery, **options)


def requeue(delivery: Delivery, **options: Any) -> Requeue:
    options.setdefault("queue", "default")
    options.setdefault("meta", delivery.meta)
    return Requeue(delivery, **options)


async def drain(worker: Worker) -> list[str]:
    """Claim until nothing comes, and say which jobs that were."""
    drained: list[str] = []
    while claimed := ids(await worker.claim()):
        drained += claimed
    return drained


@dataclasses.dataclass
class Listener:
    """The notices that one address has received."""

    notices: list[Notice] = dataclasses.field(default_factory=list)
    subscriptions: int = 0

    def notices_of(self, id: str) -> list[Notice]:
        return [notice for notice in self.notices if notice.id == id]


@asynccontextmanager
async def listening(broker: Broker, address: str) -> AsyncIterator[Listener]:
    """A listener that has subscribed, until the block ends."""
    listener, subscribed = Listener(), asyncio.Event()

    def on_subscribed() -> None:
        listener.subscriptions += 1
        subscribed.set()

    task = asyncio.create_task(broker.listen(address, listener.notices.extend, on_subscribed))
    try:
        async with asyncio.timeout(30):
            await subscribed.wait()
        yield listener
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


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


async def is_unknown(broker: Broker, id: str) -> bool:
    [state] = await broker.status([id])
    return state.status is None and state.outcome is None


async def promoted_all(broker: Broker) -> bool:
    """Promote; true when nothing waits for its time any more."""
    return (await broker.promote())[1] is None


async def is_pending(broker: Broker, id: str) -> bool:
    await broker.promote()
    return await status_of(broker, id) is Status.PENDING


def without_trail(delivery: Delivery) -> Meta:
    """The counters of a job, as a broker that keeps no trail has them."""
    return msgspec.structs.replace(delivery.meta, trail=())
