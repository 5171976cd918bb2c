"""The state that broker objects of one process share, and the state that is left after a job has ended."""

from __future__ import annotations

import asyncio
import gc

from aiotask.broker import Broker, Liveness
from aiotask.brokers import connect, inspect, namespaces, push_blocking
from aiotask.brokers.memory.broker import MemoryBroker
from aiotask.brokers.memory.stores import store_of

from ...helpers import wait_until_async
from ...seam import Worker, a_push, drain, send

# ---- one state


async def test_objects_with_the_same_url_and_app_share_their_jobs(app_name: str) -> None:
    await send(connect("memory://here", app_name), "a")

    assert await drain(await Worker(connect("memory://here", app_name), "host.1").enlist()) == ["a"]
    assert (await Worker(connect("memory://there", app_name), "host.1").claim()).liveness is Liveness.FORGOTTEN


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


# ---- time


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
    assert not (
        store.index or store.due or store.results or store.watchers or store.cancels or store.bells or store.listeners
    )
    assert not any(lane.waiting or lane.claimed for lane in store.lanes.values())


async def all_expired(broker: Broker) -> bool:
    return all(state.outcome is None for state in await broker.status([*(f"job-{n}" for n in range(20)), "later"]))


def test_a_memory_broker_is_its_own_inspector(memory: Broker) -> None:
    assert isinstance(memory, MemoryBroker)
    assert inspect(memory) is memory
