"""What waits in a queue by task: estimated from some of its jobs."""

from __future__ import annotations

from aiotask.broker import Broker
from aiotask.inspector import Inspector, Sample

from ..helpers import wait_until_async
from ..seam import Worker, a_push, send
from .test_pages import of_task


async def test_a_sample_of_few_jobs_is_exact(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await send(broker, "runs")
    await worker.claim()
    await send(
        broker, *(of_task(f"a-{n}", "shop:a") for n in range(30)), *(of_task(f"b-{n}", "shop:b") for n in (1, 2))
    )
    await send(broker, a_push("later", delay=60.0), of_task("mail", "shop:mail", "mail"))

    assert await inspector.sample("default") == Sample(32, 32, {"shop:a": 30, "shop:b": 2})
    assert await inspector.sample("mail") == Sample(1, 1, {"shop:mail": 1})
    assert await inspector.sample("none") == Sample(0, 0, {})


async def test_few_jobs_that_came_at_different_times_are_all_looked_at(broker: Broker, inspector: Inspector) -> None:
    await send(broker, *(of_task(f"a-{n}", "shop:a") for n in range(9)))
    began = (await inspector.facts()).time

    async def later() -> bool:
        return (await inspector.facts()).time > began + 0.05

    await wait_until_async(later, description="some time has passed")
    await send(broker, of_task("b", "shop:b"))

    assert await inspector.sample("default") == Sample(10, 10, {"shop:a": 9, "shop:b": 1})


async def test_a_sample_of_many_jobs_is_spread_over_all_of_them(broker: Broker, inspector: Inspector) -> None:
    for part in range(8):
        await send(broker, *(of_task(f"{part}-{n}", f"shop:part-{part}") for n in range(500)))

    sample = await inspector.sample("default")

    assert sample.pending == 4_000
    assert set(sample.tasks) == {f"shop:part-{part}" for part in range(8)}
    assert sample.looked == 4_000 or 150 <= sample.looked <= 250
    assert abs(sum(sample.tasks.values()) - 4_000) <= 8
