"""One state under many loops, threads and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from typing import Any

import pytest

from aiotask.broker import Broker, Notice, Settled
from aiotask.brokers import connect, push_blocking
from aiotask.brokers.memory.stores import store_of
from aiotask.errors import BrokerError

from ...helpers import wait_until, wait_until_async
from ...seam import Worker, a_push, listening, sealed_outcome, send

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
            await wait_until_async(lambda: len(client.notices) == 50, description="every notice has arrived")

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
        """Close a loop while a worker waits, a client listens and a recorder reads in it, as a killed notebook does."""
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
            await wait_until_async(lambda: client.notices, description="the client is notified")

    kept: list[object] = []
    abandon()
    asyncio.run(go_on())

    store = store_of("memory://", app_name)
    assert not (store.bells or store.listeners or store.recorders), "the store keeps state of a closed loop"


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
