"""A random sequence of verbs gets the same answers from memory and from Redis."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from aiotask.broker import Begin, Broker, Delivery, Room
from aiotask.brokers import connect
from aiotask.brokers.history import HistoryRow
from aiotask.errors import BrokerError
from aiotask.job import Meta, Status

from ...helpers import wait_until_async
from ...seam import Worker, a_push, finish, listening, requeue, sealed_outcome


@pytest.fixture
async def twins(app_name: str, redis_url: str) -> AsyncIterator[list[Broker]]:
    brokers = [connect("memory://", app_name), connect(redis_url, app_name)]
    yield brokers
    for broker in brokers:
        await broker.close()


QUEUES = ("default", "mail")
NEEDS = ("task:x", "task:s")
JOBS = 60


@dataclass
class Script:
    """A random sequence of verbs on one broker. Entries differ between brokers, so a delivery goes by its number
    among the deliveries of this broker so far."""

    broker: Broker
    claimed: list[Delivery] = field(default_factory=list)
    pushes: int = 0

    async def step(self, verb: str, pick: random.Random) -> object:
        return await getattr(self, f"_{verb}")(pick)

    def _worker(self, pick: random.Random) -> Worker:
        number = min(pick.randrange(30), pick.randrange(30))
        return Worker(self.broker, f"host{number % 2}.{number}", QUEUES, NEEDS[: pick.randrange(3)])

    def _said(self, deliveries: list[Delivery]) -> list[object]:
        return [(d.lane, d.id, d.sealed, without_times(d.meta), d.suspect, d.returned) for d in deliveries]

    def _delivery(self, pick: random.Random) -> Delivery | None:
        recent = self.claimed[-12:]
        return pick.choice(recent) if recent else None

    def _job(self, pick: random.Random) -> str:
        return f"job-{pick.randrange(JOBS)}"

    async def _push(self, pick: random.Random) -> object:
        self.pushes += 1
        batch = [
            a_push(
                self._job(pick),
                pick.choice(QUEUES),
                pick.randrange(10),
                custom=True,
                reply="client",
                delay=pick.choice([0.0, 0.0, 0.0, 3600.0]),
                eta=pick.choice([None, None, None, 1.0]),
            )
            for _ in range(pick.randrange(1, 5))
        ]
        room = pick.choice([None, Room({"mail": 3, "": 8}), Room({"default": 5}, oldest=True)])
        overflow = await self.broker.push("client", self.pushes - pick.choice([0, 0, 0, 1]), batch, room)
        # Of two jobs of the same millisecond either may count as the older one.
        return overflow and (overflow.full, len(overflow.oldest))

    async def _begin(self, pick: random.Random) -> object:
        delivery = self._delivery(pick)
        return delivery and await self.broker.begin(self._worker(pick).name, [Begin(delivery, b"lost", 3600.0)])

    async def _enlist(self, pick: random.Random) -> object:
        try:
            await self._worker(pick).enlist()
        except BrokerError:
            return "refused"
        return "live"

    async def _claim(self, pick: random.Random) -> object:
        claim = await self._worker(pick).claim(pick.randrange(1, 6), alone=pick.random() < 0.3)
        self.claimed += claim.deliveries
        return self._said(claim.deliveries), claim.liveness, claim.suspects

    async def _adopt(self, pick: random.Random) -> object:
        worker = self._worker(pick)
        worker.needs = NEEDS
        return sorted(map(repr, self._said(await worker.adopt())))

    async def _finish(self, pick: random.Random) -> object:
        delivery, worker, repeat = self._delivery(pick), self._worker(pick), pick.random() < 0.3
        status, ttl = pick.choice([Status.SUCCESS, Status.FAILED]), pick.choice([0.0, 0.0, 3600.0])
        if delivery is None:
            return None
        outcome = sealed_outcome(delivery.id, status)
        item = finish(delivery, outcome=outcome, status=status, result_ttl=ttl, dead=status is Status.FAILED)
        return await self.broker.finish(worker.name, [item], repeat=repeat)

    async def _requeue(self, pick: random.Random) -> object:
        delivery, worker, repeat = self._delivery(pick), self._worker(pick), pick.random() < 0.3
        queue, need = pick.choice(QUEUES), pick.choice(["", "", *NEEDS])
        delay, attempt = pick.choice([0.0, 0.0, 3600.0]), pick.randrange(1, 4)
        if delivery is None:
            return None
        meta = Meta(attempt, delivery.meta.deaths, delivery.meta.reason)
        item = requeue(delivery, queue=queue, need=need, delay=delay, meta=meta, reply="client")
        return await self.broker.requeue(worker.name, [item], repeat=repeat)

    async def _reject(self, pick: random.Random) -> object:
        delivery, worker = self._delivery(pick), self._worker(pick)
        if delivery is not None:
            await self.broker.reject(worker.name, [(delivery, "forged")])
        return None

    async def _cancel(self, pick: random.Random) -> object:
        ttl = pick.choice([0.0, 3600.0])
        return await self.broker.cancel(self._job(pick), b"gone", ttl)

    async def _cancels(self, pick: random.Random) -> object:
        return await self.broker.cancels("host0.0", [f"job-{n}" for n in range(JOBS)])

    async def _status(self, pick: random.Random) -> object:
        return await self.broker.status([f"job-{n}" for n in range(JOBS)], pick.choice(["", "watcher"]))

    async def _renew(self, pick: random.Random) -> object:
        return await self.broker.renew(f"host{pick.randrange(2)}", pick.randrange(5)), await self.broker.leases()

    async def _declare_dead(self, pick: random.Random) -> object:
        counter = pick.choice([None, 0, 1, 2, 3, 4])
        return await self.broker.declare_dead(f"host{pick.randrange(2)}", counter), await self.broker.leases()

    async def _recover(self, pick: random.Random) -> object:
        dead = self._worker(pick).name if pick.random() < 0.7 else ""
        blame = {self._job(pick) for _ in range(JOBS // 2)}
        keep = {self._job(pick) for _ in range(5)}
        recovered = await self.broker.recover(dead, blame=blame, reason="killed by SIGSEGV", keep=keep)
        return recovered.moved, sorted(map(repr, self._said(recovered.kept))), recovered.more

    async def _promote(self, pick: random.Random) -> object:
        moved, until = await self.broker.promote(pick.randrange(5))
        return moved, until is None or until > 0

    async def _read_history(self, pick: random.Random) -> object:
        rows: list[HistoryRow] = []
        while read := await self.broker.read_history("recorder", 100, 0.001):
            rows += read
            await self.broker.trim_history([row.entry for row in read])
        return [(row.job, row.outcome, without_times(row.meta)) for row in rows]


VERBS: dict[str, int] = {
    **{"push": 20, "claim": 24, "finish": 10, "requeue": 12, "enlist": 10, "recover": 6, "status": 4, "cancel": 8},
    **{
        "begin": 8,
        "cancels": 2,
        "adopt": 3,
        "reject": 1,
        "renew": 2,
        "declare_dead": 1,
        "promote": 2,
        "read_history": 2,
    },
}


@pytest.mark.parametrize("seed", range(6))
async def test_both_brokers_answer_a_random_history_alike(twins: list[Broker], seed: int) -> None:
    """Every verb with every kind of argument, void deliveries included, gets the same answer from both brokers."""
    choose = random.Random(seed)
    scripts = [Script(broker) for broker in twins]
    async with listening(twins[0], "client") as heard, listening(twins[1], "client") as heard_on_redis:
        for script in scripts:
            await script.step("read_history", random.Random(0))
            for number in range(8):
                await Worker(script.broker, f"host{number % 2}.{number}").enlist()
        for number in range(400):
            verb = choose.choices(list(VERBS), list(VERBS.values()))[0]
            state = choose.getrandbits(32)
            memory, redis = [await script.step(verb, random.Random(state)) for script in scripts]
            assert memory == redis, f"seed {seed}, step {number}: {verb} (memory is left, redis is right)"
        await wait_until_async(
            lambda: len(heard.notices) == len(heard_on_redis.notices), description="both got the same number of notices"
        )
    assert sorted(map(repr, heard.notices)) == sorted(map(repr, heard_on_redis.notices))


def without_times(meta: Meta) -> Meta:
    """The counters of a job without when its earlier runs ended, which the clocks of two brokers tell."""
    return replace(meta, trail=tuple(replace(run, at=0.0) for run in meta.trail))
