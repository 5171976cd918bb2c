"""The memory broker: one process, many loops and threads; and it does what Redis does, step by step."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiotask.broker import Begin, Broker, Delivery, Meta, Notice, Room, Settled, Standing
from aiotask.brokers import connect, inspect, namespaces, push_blocking
from aiotask.brokers.history import HistoryRow
from aiotask.brokers.memory.broker import MemoryBroker
from aiotask.brokers.memory.stores import store_of
from aiotask.errors import BrokerError
from aiotask.job import Status

from .helpers import wait_until, wait_until_async
from .seam import Worker, a_push, drain, finish, listening, requeue, sealed_outcome, send


@pytest.fixture
def memory(app_name: str) -> Broker:
    return connect("memory://", app_name)


# ---- one state


async def test_objects_with_the_same_url_and_app_share_their_jobs(app_name: str) -> None:
    await send(connect("memory://here", app_name), "a")

    assert await drain(await Worker(connect("memory://here", app_name), "host.1").enlist()) == ["a"]
    assert (await Worker(connect("memory://there", app_name), "host.1").claim()).standing is Standing.FORGOTTEN


async def test_the_apps_of_a_url_are_listed(app_name: str) -> None:
    url = f"memory://{app_name}"
    connect(url, "empty")
    await send(connect(url, "shop"), "a")
    await Worker(connect(url, "blog"), "host.1").enlist()

    assert await namespaces(url) == ["blog", "shop"]


def test_jobs_outlive_the_loop_and_the_object_that_sent_them(app_name: str) -> None:
    async def sender() -> None:
        await send(connect("memory://", app_name), "a")

    async def worker() -> list[str]:
        return await drain(await Worker(connect("memory://", app_name), "host.1").enlist())

    asyncio.run(sender())
    gc.collect()
    assert asyncio.run(worker()) == ["a"]


def test_a_batch_can_be_pushed_without_a_loop(app_name: str) -> None:
    async def worker() -> list[str]:
        return await drain(await Worker(connect("memory://", app_name), "host.1").enlist())

    push_blocking("memory://")("memory://", app_name, "client", 1, [a_push("a")])
    push_blocking("memory://")("memory://", app_name, "client", 1, [a_push("a")])

    assert asyncio.run(worker()) == ["a"]


# ---- loops and threads


class LoopThread:
    """A loop that runs in a thread of its own."""

    def __enter__(self) -> LoopThread:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()

    async def run(self, coroutine: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))


async def test_a_push_in_one_thread_wakes_a_waiter_in_another(app_name: str, memory: Broker) -> None:
    with LoopThread() as thread:
        worker = await thread.run(Worker(connect("memory://", app_name), "host.1").enlist())
        for n in range(50):
            waiting = asyncio.create_task(thread.run(worker.wait_for_job()))
            if n % 2:
                await asyncio.sleep(0)
            await send(memory, f"job-{n}")
            async with asyncio.timeout(30):
                assert (await waiting).id == f"job-{n}"


async def test_a_finish_in_one_thread_is_heard_in_another(app_name: str, memory: Broker) -> None:
    worker = await Worker(memory, "host.1").enlist()
    async with listening(memory, "client") as client:
        with LoopThread() as thread:
            for n in range(50):
                await send(memory, f"job-{n}")
                [delivery] = (await worker.claim()).deliveries
                await thread.run(Worker(connect("memory://", app_name), "host.1").finish(delivery, reply="client"))
            await wait_until_async(lambda: len(client.notices) == 50, description="everything is heard")

    assert client.notices == [Notice(f"job-{n}", sealed_outcome(f"job-{n}")) for n in range(50)]


def test_many_threads_run_each_job_once(app_name: str) -> None:
    done: list[str] = []
    names = [f"job-{n}" for n in range(900)]

    async def work(number: int) -> None:
        worker = await Worker(connect("memory://", app_name), f"host.{number}").enlist()
        while len(done) < len(names):
            claim = await worker.wait(0.05)
            claim.deliveries.extend((await worker.claim(5)).deliveries)
            for delivery in claim.deliveries:
                if await worker.finish(delivery) is Settled.DONE:
                    done.append(delivery.id)

    async def push(part: int) -> None:
        broker = connect("memory://", app_name)
        for name in names[part::3]:
            await send(broker, name)

    threads = [threading.Thread(target=asyncio.run, args=(work(n),)) for n in range(3)]
    threads += [threading.Thread(target=asyncio.run, args=(push(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), description="all threads have ended")

    assert sorted(done) == sorted(names)


def test_a_loop_that_ended_while_it_waited_stops_nobody(app_name: str) -> None:
    def abandon() -> None:
        """A loop that is closed under its waiter, its listener and its recorder, as a killed notebook cell does it."""
        loop = asyncio.new_event_loop()
        broker = connect("memory://", app_name)
        worker = loop.run_until_complete(Worker(broker, "gone.1").enlist())
        tasks = [
            loop.create_task(worker.wait(3600.0)),
            loop.create_task(broker.listen("client", lambda _: None, lambda: None)),
            loop.create_task(broker.read_history("gone", 10, 3600.0)),
        ]
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0))
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        kept.append((loop, tasks))
        loop.close()

    async def go_on() -> None:
        worker = await Worker(connect("memory://", app_name), "host.1").enlist()
        await send(worker.broker, "a")
        async with listening(worker.broker, "client") as client:
            await worker.broker.read_history("recorder", 10, 0.0)
            delivery = await worker.wait_for_job()
            assert await worker.finish(delivery, reply="client") is Settled.DONE
            await wait_until_async(lambda: client.notices, description="the client is told")

    kept: list[object] = []
    abandon()
    asyncio.run(go_on())

    store = store_of("memory://", app_name)
    assert not (store.bells or store.ears or store.recorders), "nobody keeps a place for those who are gone"


async def test_a_verb_in_a_tight_loop_leaves_its_neighbours_their_turn(memory: Broker) -> None:
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(neighbour())
    for _ in range(100):
        await memory.status(["a"])
    task.cancel()

    assert turns >= 50


# ---- processes


def _in_child(app_name: str, answers: Any) -> None:
    async def push(broker: Broker) -> str:
        try:
            await broker.open()
            await send(broker, "a")
        except BrokerError as error:
            return str(error)
        return "accepted"

    try:
        push_blocking("memory://")("memory://", app_name, "client", 1, [a_push("b")])
        blocking = "accepted"
    except BrokerError as error:
        blocking = str(error)
    answers.put(
        [
            asyncio.run(push(connect("memory://", app_name))),
            blocking,
            asyncio.run(push(connect("memory://", f"{app_name}-of-the-child"))),
        ]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused_instead_of_sending_into_nowhere(app_name: str) -> None:
    asyncio.run(send(connect("memory://", app_name), "parent"))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    store = store_of("memory://", app_name)

    with store.lock:  # as another thread may hold it when the child is made
        child = context.Process(target=_in_child, args=(app_name, answers))
        child.start()
    shared, blocking, own = answers.get(timeout=30)
    child.join(30)

    assert "the memory of the process from which this one was forked" in shared
    assert "Redis URL" in shared
    assert blocking == shared
    assert own == "accepted"


# ---- what is over


async def test_what_is_over_leaves_nothing_behind(app_name: str, memory: Broker) -> None:
    worker = await Worker(memory, "host.1").enlist()
    await send(memory, *(f"job-{n}" for n in range(20)), a_push("later", delay=3600.0))
    await memory.status([f"job-{n}" for n in range(20)], "watcher")
    await memory.cancel("job-19", b"gone", 0.001)
    await memory.cancel("later", b"gone", 0.001)
    deliveries = (await worker.claim()).deliveries
    await memory.cancel("job-0", b"gone", 0.001)
    await memory.reject(worker.name, [(deliveries[1], "forged")])
    for delivery in deliveries:
        await worker.finish(delivery, result_ttl=0.001)
    await memory.promote()
    await wait_until_async(lambda: all_expired(memory), description="all outcomes have expired")

    store = store_of("memory://", app_name)
    assert not (store.index or store.due or store.results or store.watchers or store.marks or store.bells or store.ears)
    assert not any(lane.waiting or lane.lent for lane in store.lanes.values())


async def all_expired(broker: Broker) -> bool:
    return all(state.outcome is None for state in await broker.status([*(f"job-{n}" for n in range(20)), "later"]))


# ---- the same as Redis


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
    """A random history, told to one broker. Entries differ from broker to broker, so deliveries go by the
    number of their place in what this broker has lent so far."""

    broker: Broker
    lent: list[Delivery] = field(default_factory=list)
    pushes: int = 0

    async def step(self, verb: str, pick: random.Random) -> object:
        return await getattr(self, f"_{verb}")(pick)

    def _worker(self, pick: random.Random) -> Worker:
        number = min(pick.randrange(30), pick.randrange(30))
        return Worker(self.broker, f"host{number % 2}.{number}", QUEUES, NEEDS[: pick.randrange(3)])

    def _said(self, deliveries: list[Delivery]) -> list[object]:
        return [(d.lane, d.id, d.sealed, d.meta, d.suspect, d.returned) for d in deliveries]

    def _delivery(self, pick: random.Random) -> Delivery | None:
        recent = self.lent[-12:]
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
        # Of the same millisecond either may be the older one.
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
        self.lent += claim.deliveries
        return self._said(claim.deliveries), claim.standing, claim.suspects

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
        beat = pick.choice([None, 0, 1, 2, 3, 4])
        return await self.broker.declare_dead(f"host{pick.randrange(2)}", beat), await self.broker.leases()

    async def _recover(self, pick: random.Random) -> object:
        dead = self._worker(pick).name if pick.random() < 0.7 else ""
        blame = {self._job(pick) for _ in range(JOBS // 2)}
        hold = {self._job(pick) for _ in range(5)}
        recovered = await self.broker.recover(dead, blame=blame, reason="killed by SIGSEGV", hold=hold)
        return recovered.moved, sorted(map(repr, self._said(recovered.held))), recovered.more

    async def _promote(self, pick: random.Random) -> object:
        moved, until = await self.broker.promote(pick.randrange(5))
        return moved, until is None or until > 0

    async def _read_history(self, pick: random.Random) -> object:
        rows: list[HistoryRow] = []
        while read := await self.broker.read_history("recorder", 100, 0.001):
            rows += read
            await self.broker.trim_history([row.entry for row in read])
        return [(row.job, row.outcome, row.meta) for row in rows]


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
    """Every verb with every kind of argument, old proofs included: what one broker says, the other says."""
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
            lambda: len(heard.notices) == len(heard_on_redis.notices), description="both have heard the same"
        )
    assert sorted(map(repr, heard.notices)) == sorted(map(repr, heard_on_redis.notices))


def test_a_memory_broker_is_its_own_inspector(memory: Broker) -> None:
    assert isinstance(memory, MemoryBroker)
    assert inspect(memory) is memory
