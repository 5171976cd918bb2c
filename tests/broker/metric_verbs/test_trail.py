"""The trail of a job: its runs before the next one, as workers and recoveries have written them down."""

from __future__ import annotations

import time

from msgspec.structs import replace

from aiotask.broker import Broker, Settled
from aiotask.inspector import Inspector
from aiotask.job import TRAIL, Meta, with_attempt

from ...seam import Worker, park, suspect, take


async def test_a_recovery_writes_down_the_run_whose_process_died(broker: Broker) -> None:
    await suspect(broker, "pill", "host.1")
    for death in (2, 3):
        victim = await Worker(broker, f"host.{death}").enlist()
        await victim.claim(alone=True)
        await broker.recover(victim.name, blame=["pill"], reason="killed by SIGSEGV")

    last = await Worker(broker, "host.4").enlist()
    [delivery] = (await last.claim(alone=True)).deliveries

    assert [run.worker for run in delivery.meta.trail] == ["host.1", "host.2", "host.3"]
    assert {run.how for run in delivery.meta.trail} == {"died"}
    assert delivery.meta.trail[0].error == "killed by SIGSEGV" and abs(delivery.meta.trail[0].at - time.time()) < 600


async def test_the_last_runs_are_kept_and_those_of_a_worker_too(broker: Broker, worker: Worker) -> None:
    trail = Meta()
    for number in range(30):
        trail = with_attempt(trail, float(number), "host-" * 50, "retried", f"error {number} " + "ü" * 500)
    assert 3 < len(trail.trail) <= TRAIL and trail.trail[-1].error.startswith("error 29 ")
    assert await worker.requeue(await take(worker, "pill"), meta=replace(trail, attempt=30)) is Settled.DONE
    [again] = (await worker.claim()).deliveries
    assert again.meta == replace(trail, attempt=30)

    for number in range(12):
        victim = await Worker(broker, f"victim.{number}").enlist()
        if number:
            [again] = (await victim.claim(alone=True)).deliveries
        await broker.recover(victim.name if number else worker.name, blame=["pill"], reason="killed")

    last = await Worker(broker, "host.5").enlist()
    [delivery] = (await last.claim(alone=True)).deliveries
    assert [run.worker for run in delivery.meta.trail] == [f"victim.{number}" for number in range(2, 12)]
    assert (delivery.meta.attempt, delivery.meta.deaths) == (30, 12)


async def test_runs_are_counted(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await park(worker, "parked", "task:x")
    await worker.requeue(await take(worker, "retried"), meta=Meta(attempt=2), delay=60.0)
    await worker.requeue(await take(worker, "returned"))
    await worker.claim()
    await broker.recover(worker.name, blame=["returned"], reason="killed")

    stats = await inspector.stats(max_age=0.0)

    assert (stats.retried, stats.returned, stats.died) == (1, 1, 1)
    assert stats.sent == 3
