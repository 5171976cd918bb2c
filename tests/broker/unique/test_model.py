"""Random calls, claims, ends and losses of one key: what is known of the key fits what the broker has."""

from __future__ import annotations

import itertools
import random

import pytest

from aiotask.broker import Broker, Delivery
from aiotask.job import Status
from aiotask.values.unique import verdict

from ...seam import GONE, Worker, finish
from .calls import call, name, push, state_of

_names = itertools.count(1)
STEPS = ["push", "push", "push", "claim", "finish", "finish", "lose", "delay", "cancel"]


class Model:
    """One key: the job that has it, and every unfinished job, in the order of their acceptance."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self.broker = broker
        self.worker = worker
        self.holder = ""
        self.waiting: list[str] = []
        self.running: dict[str, Delivery] = {}
        self.ended: set[str] = set()
        self.same: dict[str, str] = {}
        self._tails = itertools.count(1)

    def place(self, id: str) -> str:
        if not id:
            return "none"
        return "running" if id in self.running else "pending" if id in self.waiting else "ended"

    async def push(self, policy: str, answer: str, delay: float) -> None:
        tail = str(next(self._tails))
        id, before = name(tail), self.holder
        said = await push(self.broker, call(tail, policy, answer, delay=delay))
        match verdict(policy, answer, self.place(before)):
            case "new":
                assert said is None
                self.holder = id
                self.waiting.append(id)
            case "replace":
                assert said is None
                self.waiting[self.waiting.index(before)] = self.holder = id
                self.same[before] = id
            case "existing":
                assert said is not None and said.known == {id: before} and not said.refused
                self.same[id] = before
            case "refused":
                assert said is not None and said.refused == {id: before} and not said.known

    async def claim(self) -> None:
        for delivery in (await self.worker.claim()).deliveries:
            assert delivery.id in self.waiting
            self.waiting.remove(delivery.id)
            self.running[delivery.id] = delivery

    async def finish(self) -> None:
        if self.running:
            id, delivery = self.running.popitem()
            await self.broker.finish_special(self.worker.name, [finish(delivery, special=True)])  # type: ignore[attr-defined]
            self._end(id)

    async def lose(self) -> None:
        """The worker is taken for dead: what it ran waits again."""
        await self.broker.recover(self.worker.name, reason="died")
        self.waiting += self.running
        self.running.clear()
        self.worker = await Worker(self.broker, f"host.{next(_names)}").enlist()

    async def delay(self) -> None:
        if self.running:
            id, delivery = self.running.popitem()
            await self.worker.requeue(delivery, delay=3600.0)
            self.waiting.append(id)

    async def cancel(self) -> None:
        if self.waiting:
            id = self.waiting.pop()
            await self.broker.cancel(id, GONE, 3600.0)
            self._end(id)

    def _end(self, id: str) -> None:
        self.ended.add(id)
        if self.holder == id:
            self.holder = ""

    async def check(self) -> None:
        for id in self.ended:
            assert (await state_of(self.broker, id)).outcome is not None
        for id in self.running:
            assert (await state_of(self.broker, id)).status is Status.RUNNING
        for id in self.waiting:
            assert (await state_of(self.broker, id)).status in (Status.PENDING, Status.SCHEDULED, Status.RETRYING)
        for id in self.same:
            last = id
            while last in self.same:
                last = self.same[last]
            assert (await state_of(self.broker, id)).same == last


@pytest.mark.parametrize("seed", range(40))
async def test_a_key_is_that_of_the_job_that_has_it(broker: Broker, seed: int) -> None:
    drawn = random.Random(seed)
    model = Model(broker, await Worker(broker, f"host.{next(_names)}").enlist())
    for _ in range(25):
        match drawn.choice(STEPS):
            case "push":
                policy, answer = drawn.choice(["unfinished", "pending"]), drawn.choice(["existing", "replace", "error"])
                await model.push(policy, answer, drawn.choice([0.0, 3600.0]))
            case step:
                await getattr(model, step)()
        await model.check()
