"""Hosts that were lost, and what is known of the jobs that they had."""

from __future__ import annotations

from msgspec.structs import replace

from aiotask.broker import Broker
from aiotask.brokers.metrics import Metrics, MetricsInspector, Observed
from aiotask.inspector import Inspector
from aiotask.job import LOSS, Meta
from aiotask.keeper.recovery import Death, Recovery
from aiotask.values.report import HostReport, encode_report

from ...seam import WORN, Worker, take


async def lose(metrics: Metrics, broker: Broker, host: str = "host") -> None:
    await broker.renew(host, 1)
    await metrics.observe(host, 1, Observed(), encode_report(HostReport(host, machine="web-7")))
    assert await broker.declare_dead(host, 1)


async def test_a_lost_host_is_told_with_the_jobs_that_it_had(
    broker: Broker, metrics: Metrics, worker: Worker, inspector: Inspector
) -> None:
    reader: MetricsInspector = inspector  # type: ignore[assignment]
    held = [await take(worker, name) for name in ("a", "b")]
    assert len(held) == 2 and await reader.lost() == []

    await lose(metrics, broker, worker.host)
    assert (await broker.recover()).moved == 2

    (lost,) = await reader.lost()
    assert (lost.host, lost.machine, lost.jobs) == (worker.host, "web-7", 2) and lost.age < 600
    assert (await inspector.stats()).lost == 1
    await broker.declare_dead(worker.host, 1)
    assert ((await inspector.stats()).lost, [each.jobs for each in await reader.lost()]) == (1, [2])


async def test_a_host_that_leaves_is_not_lost(
    broker: Broker, metrics: Metrics, worker: Worker, inspector: Inspector
) -> None:
    reader: MetricsInspector = inspector  # type: ignore[assignment]
    await take(worker, "a")
    await broker.renew(worker.host, 1)

    assert await broker.declare_dead(worker.host)
    await broker.recover()

    assert (await reader.lost(), (await inspector.stats()).lost) == ([], 0)
    other = await Worker(broker, "other.1").enlist()
    assert (await other.claim()).deliveries[0].meta.trail == ()


async def test_a_job_of_a_lost_host_says_so_and_has_no_death(
    broker: Broker, metrics: Metrics, worker: Worker, other: Worker
) -> None:
    await worker.requeue(await take(worker, "worn"), meta=WORN)
    await worker.claim()
    await take(worker, "plain")

    await lose(metrics, broker, worker.host)
    await broker.recover()

    found = {each.id: each for each in (await other.claim()).deliveries}
    for id, before in (("plain", Meta()), ("worn", WORN)):
        delivery = found[id]
        run = delivery.meta.trail[-1]
        assert (run.worker, run.how, run.error) == (worker.name, "lost", LOSS)
        assert replace(delivery.meta, trail=delivery.meta.trail[:-1]) == before and not delivery.suspect


async def test_jobs_are_counted_that_are_given_back_after_any_death(
    broker: Broker, metrics: Metrics, worker: Worker, other: Worker
) -> None:
    recovery = Recovery(broker, ["test"], "keeper")
    await take(worker, "a")
    await take(other, "b")

    recovery.report(Death(worker.name, blame=("a",)))
    await recovery.scan()
    assert recovery.moved == 1

    await lose(metrics, broker, other.host)
    await recovery.scan()
    assert recovery.moved == 2
