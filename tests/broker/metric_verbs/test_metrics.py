"""What workers count, by the minute, and the reports of hosts."""

from __future__ import annotations

import math
import time

import pytest

from aiotask.broker import Broker
from aiotask.brokers.metrics import ERRORS_KEPT, MINUTE, TEN, Metrics, MetricsInspector, Observed
from aiotask.inspector import Inspector
from aiotask.values.metrics import Counts, Slot
from aiotask.values.report import HostReport, ProcessReport, RunningJob, encode_report

from ...seam import send

SEEN = Observed({"shop:a": {Slot.SUCCEEDED: 3, 40: 2}}, {"mail": {Slot.SUCCEEDED: 1}}, {"shop:a\tKeyError: …": 2})


@pytest.fixture
def reader(metrics: Metrics, inspector: Inspector) -> MetricsInspector:
    return inspector  # type: ignore[return-value]


async def counted(reader: MetricsInspector, task: str, step: int = MINUTE) -> Counts:
    """What was counted of a task in all minutes: a new one may have begun meanwhile."""
    return Counts.sum(minute.tasks.get(task, Counts()) for minute in await reader.minutes(0.0, step=step))


async def test_counts_of_all_hosts_add_up(metrics: Metrics, reader: MetricsInspector) -> None:
    await metrics.observe("one", 1, SEEN, b"")
    await metrics.observe("two", 1, SEEN, b"")
    await metrics.observe("one", 2, Observed({"shop:a": {Slot.FAILED: 1}, "shop:b": {Slot.RETRIED: 5}}), b"")

    await metrics.observe("one", 3, Observed(releases={"v7": 1}), b"")
    await metrics.observe("two", 2, Observed(releases={"v7": 1}), b"")

    for step in (MINUTE, TEN):
        assert sum(each.releases.get("v7", 0) for each in await reader.minutes(0.0, step=step)) == 2
        assert await counted(reader, "shop:a", step) == Counts({Slot.SUCCEEDED: 6, 40: 4, Slot.FAILED: 1})
        assert await counted(reader, "shop:b", step) == Counts({Slot.RETRIED: 5})
        minutes = await reader.minutes(0.0, step=step)
        assert {minute.seconds for minute in minutes} == {float(step)}
        assert all(minute.at % step == 0 and abs(minute.at - time.time()) < 2 * TEN for minute in minutes)
        assert Counts.sum(minute.queues["mail"] for minute in minutes if minute.queues).of(Slot.SUCCEEDED) == 2
        assert sum(sum(minute.errors.values()) for minute in minutes) == 4


async def test_a_repeated_report_is_counted_once(broker: Broker, metrics: Metrics, reader: MetricsInspector) -> None:
    await broker.renew("one", 1)
    await metrics.observe("one", 7, SEEN, encode_report(HostReport("one")))
    await metrics.observe("one", 7, SEEN, encode_report(HostReport("one")))
    await metrics.observe("one", 6, SEEN, encode_report(HostReport("one")))

    assert await counted(reader, "shop:a") == Counts({Slot.SUCCEEDED: 3, 40: 2})
    await metrics.observe("one", 8, SEEN, encode_report(HostReport("one")))
    assert (await counted(reader, "shop:a")).of(Slot.SUCCEEDED) == 6


async def test_a_minute_has_the_state_of_the_queues(broker: Broker, metrics: Metrics, reader: MetricsInspector) -> None:
    await send(broker, "a", "b")

    await metrics.observe("one", 1, Observed(), b"")

    (minute, *_) = await reader.minutes(0.0)
    assert minute.stats is not None
    assert (minute.stats.pending, [queue.name for queue in minute.stats.queues]) == (2, ["default"])
    assert abs(minute.stats.time - time.time()) < 60


async def test_the_most_frequent_errors_are_kept(metrics: Metrics, reader: MetricsInspector) -> None:
    for sequence in (1, 2):
        errors = {f"shop:a\tKind{number}: …": number + 1 for number in range(2 * ERRORS_KEPT)}
        await metrics.observe("one", sequence, Observed(errors=errors), b"")

    for minute in await reader.minutes(0.0):
        assert len(minute.errors) <= ERRORS_KEPT
        assert f"shop:a\tKind{2 * ERRORS_KEPT - 1}: …" in minute.errors


async def test_minutes_are_read_from_and_until(metrics: Metrics, reader: MetricsInspector) -> None:
    await metrics.observe("one", 1, SEEN, b"")
    [*_, minute] = await reader.minutes(0.0)

    assert minute in await reader.minutes(minute.at, minute.at)
    assert await reader.minutes(0.0, minute.at - 3600) == []
    assert await reader.minutes(math.floor(time.time()) + 7200) == []


async def test_reports_are_those_of_hosts_with_a_lease(
    broker: Broker, metrics: Metrics, reader: MetricsInspector
) -> None:
    running = [RunningJob("job-1", "shop:a", 7, 12.5, 3.0, blocks=True)]
    report = HostReport("?", pid=7, processes=[ProcessReport(7, ["one.1"], 10**6)], running=running, exits={"done": 2})
    for host in ("one", "two"):
        await broker.renew(host, 1)
        await metrics.observe(host, 1, Observed(), encode_report(report))
    await metrics.observe("three", 1, Observed(), encode_report(report))

    found = await reader.reports()

    assert [each.host for each in found] == ["one", "two"]
    assert found[0].running == running and found[0].exits == {"done": 2} and found[0].processes[0].memory == 10**6
    assert 0.0 <= found[0].age < 60
    await broker.declare_dead("one")
    assert [each.host for each in await reader.reports()] == ["two"]
