"""Random work on limited jobs, with deaths, retries, cancels, delays and pauses: a limit keeps its promise."""

from __future__ import annotations

import random
from collections import Counter
from typing import cast

import pytest

from aiotask.broker import Delivery
from aiotask.brokers import inspect
from aiotask.brokers.limits import Limits, LimitsReader
from aiotask.brokers.memory.broker import MemoryBroker
from aiotask.brokers.memory.lines import parts_of
from aiotask.brokers.pauses import Pause, Pauses
from aiotask.brokers.redis.broker import RedisBroker
from aiotask.job import Meta

from ...seam import GONE, Worker, send
from .words import Declare, end, limited

KEYS, EACH, ALL, JOBS = 12, 2, 9, 300
#: What happens to a job that was claimed, and how often.
PAUSE = Pause("queue:default", queue="default")
FATES = {"ends": 60, "retry": 10, "release": 8, "dies": 8, "late": 4, "cancel": 6, "parks": 4}


class Trial:
    """One run: workers by hand, and the account of what runs."""

    def __init__(self, limits: Limits, seed: int) -> None:
        self.limits = limits
        self.random = random.Random(seed)
        self.running: dict[str, tuple[Worker, Delivery]] = {}
        self.over: Counter[str] = Counter()
        self.most, self.most_each = 0, 0
        self.names = 0
        self.is_paused = False
        self.unsent = [f"k{n % KEYS}-{n}" for n in range(JOBS)]

    async def push(self) -> None:
        """Send some more jobs, a few of them delayed."""
        batch, self.unsent = self.unsent[:20], self.unsent[20:]
        delays = {id: 0.001 if self.random.random() < 0.1 else 0.0 for id in batch}
        await send(self.limits, *(limited(id, id.partition("-")[0], delay=delays[id]) for id in batch))

    async def pause(self) -> None:
        """Pause the queue, or resume it."""
        pauses = cast(Pauses, self.limits)
        if self.is_paused:
            assert await pauses.resume(PAUSE.id)
        else:
            await pauses.pause(PAUSE)
        self.is_paused = not self.is_paused

    async def worker(self) -> Worker:
        self.names += 1
        return await Worker(self.limits, f"fire.{self.names}", needs=["task:x"]).enlist()

    def note(self, worker: Worker, delivery: Delivery) -> None:
        assert delivery.id not in self.running, f"{delivery.id} runs twice"
        assert delivery.id not in self.over, f"{delivery.id} runs again after its end"
        self.running[delivery.id] = worker, delivery
        keys = Counter(id.partition("-")[0] for id in self.running)
        self.most, self.most_each = max(self.most, len(self.running)), max(self.most_each, *keys.values())

    async def claim(self, worker: Worker) -> None:
        claimed = (await worker.claim(self.random.randint(1, 8))).deliveries
        # What is parked belongs to no queue until a worker has seen it.
        assert not self.is_paused or all(delivery.lane.startswith("parked:") for delivery in claimed)
        for delivery in claimed:
            if delivery.lane.startswith("parked:"):
                key = delivery.id.partition("-")[0]
                await worker.requeue(delivery, limit=f"api:{key}")
            else:
                self.note(worker, delivery)

    async def decide(self, id: str) -> None:
        worker, delivery = self.running.pop(id)
        [fate] = self.random.choices([*FATES], [*FATES.values()])
        if fate == "ends":
            await end(worker, delivery)
            self.over[id] += 1
        elif fate == "retry":
            await worker.requeue(delivery, meta=Meta(attempt=delivery.meta.attempt + 1), delay=0.001)
        elif fate == "parks":
            await worker.requeue(delivery, need="task:x")
        elif fate == "release":
            await worker.requeue(delivery)
        elif fate == "cancel":
            await self.limits.cancel(id, GONE, 3600.0)
            await worker.requeue(delivery)
            self.over[id] += 1
        else:
            self.running[id] = worker, delivery
            await self.die(worker, late=delivery if fate == "late" else None)

    async def die(self, worker: Worker, late: Delivery | None) -> None:
        """All that the worker has goes on elsewhere; it may still finish a job that was not moved yet."""
        await self.limits.recover(worker.name)
        for id in [id for id, (owner, _) in self.running.items() if owner is worker]:
            del self.running[id]
        if late is not None:
            settled = await end(worker, late)
            assert settled[0] == 0, "a finish of the dead was taken"
        worker.name = (await self.worker()).name


async def check(broker: Limits) -> None:
    """Slots are those of the admitted jobs, each unfinished job is in one place, and a limit that is not full and has a
    line is open."""
    if isinstance(broker, MemoryBroker):
        check_memory(broker)
    else:
        assert isinstance(broker, RedisBroker)
        await check_redis(broker)


def check_memory(broker: MemoryBroker) -> None:
    store = broker._store
    admitted = {record.id for record in store.index.values() if record.admitted}
    assert store.slots.get(("api", None), set()) == admitted
    standing = [record.id for lane in store.lanes.values() for record in lane.waiting.values()]
    standing += [record.id for lane in store.lanes.values() for record in lane.claimed.values()]
    due = [record.id for record in store.index.values() if record.due_at is not None]
    assert sorted(standing + due) == sorted(store.index)
    for line in [name for name, lane in store.lanes.items() if name.startswith("l:") and lane.waiting]:
        place, name, key = parts_of(line)
        is_full = len(admitted) >= ALL or len(store.slots.get((name, key), ())) >= EACH
        assert is_full or (key in store.rings[place, name] and name in store.open[place]), line


async def check_redis(broker: RedisBroker) -> None:
    async def call(command: str, name: str, *rest: object) -> list[bytes]:
        found: list[bytes] = await broker.wire.call(command, broker.prefix + name, *rest)
        return found

    admitted = set(await call("HKEYS", "admitted"))
    assert set(await call("SMEMBERS", "slots:api")) == admitted
    ring, lined = await call("ZRANGE", "ring:default:5:api", 0, -1), await call("HKEYS", "lined")
    standing: list[bytes] = []
    for key in {f"k{n}" for n in range(KEYS)}:
        line = await call("ZRANGE", f"l:default:5:api:{key}", 0, -1)
        standing += line
        slots = set(await call("SMEMBERS", f"slots:api:{key}"))
        assert slots == {id for id in admitted if id.startswith(f"{key}-".encode())}
        is_open = key.encode() in ring and await call("ZRANGE", "open:default:5", 0, -1) == [b"api"]
        assert not line or len(admitted) >= ALL or len(slots) >= EACH or is_open, key
    assert sorted(standing) == sorted(lined)
    [info] = await cast(LimitsReader, inspect(broker)).limits()
    assert info.waiting == len(standing)
    assert not admitted & set(lined)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_limit_is_ever_exceeded_and_no_job_lost(limits: Limits, declare: Declare, seed: int) -> None:
    await declare(max_running=ALL, max_running_each=EACH)
    trial = Trial(limits, seed)
    workers = [await trial.worker() for _ in range(4)]
    for _ in range(10):
        await trial.push()

    for step in range(20_000):
        if len(trial.over) == JOBS:
            break
        await trial.claim(trial.random.choice(workers))
        if trial.unsent and trial.random.random() < 0.2:
            await trial.push()
        if trial.random.random() < (0.3 if trial.is_paused else 0.02):
            await trial.pause()
        if step % 5 == 0:
            await limits.promote()
        for id in trial.random.sample(sorted(trial.running), min(3, len(trial.running))):
            if id in trial.running:
                await trial.decide(id)
        await check(limits)

    assert len(trial.over) == JOBS, f"{JOBS - len(trial.over)} jobs were lost"
    assert (trial.most_each, trial.most) == (EACH, ALL)
    [info] = await cast(LimitsReader, inspect(limits)).limits()
    assert info.running == 0
    assert all(not keys for _, _, keys in info.places)
