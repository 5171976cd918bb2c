"""The agent that reports: exactly once, whoever dies and whatever gets lost."""

from __future__ import annotations

from typing import Any

import pytest

from aiotask.broker import Broker
from aiotask.brokers import connect, inspect
from aiotask.brokers.metrics import Metrics, MetricsInspector, Observed
from aiotask.errors import ConnectionLost
from aiotask.keeper.report import MemoryLedger, Reporter, Source
from aiotask.values.metrics import Counts, Slot
from aiotask.values.report import HostReport


class Page:
    """What grows as jobs end."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[int, int]] = {}

    def add(self, task: str, number: int) -> None:
        self.tasks = {**self.tasks, task: {Slot.SUCCEEDED: self.tasks.get(task, {}).get(Slot.SUCCEEDED, 0) + number}}

    def read(self) -> Observed:
        return Observed(self.tasks)


class Lossy:
    """The broker, whose answers get lost: the call has been carried out all the same, or it has not."""

    def __init__(self, broker: Broker) -> None:
        self._broker: Any = broker
        self.loses = ""

    async def observe(self, *arguments: Any) -> None:
        loses, self.loses = self.loses, ""
        if loses != "call":
            await self._broker.observe(*arguments)
        if loses:
            raise ConnectionLost("lost")


async def no_turn() -> None: ...


def reporter(broker: Metrics, page: Page, ledger: MemoryLedger) -> Reporter:
    source = Source(page.read, lambda: HostReport("host"), ledger, no_turn)
    return Reporter(broker, "host", source, lambda report, took: report)


@pytest.mark.parametrize("loses", ["answer", "call"])
@pytest.mark.parametrize("taken_over", [True, False])
async def test_each_count_arrives_once(redis_url: str, app_name: str, loses: str, taken_over: bool) -> None:
    broker = connect(redis_url, app_name)
    await broker.renew("host", 1)
    page, ledger, lossy = Page(), MemoryLedger(), Lossy(broker)
    keeper = reporter(lossy, page, ledger)
    page.add("a", 3)
    await keeper.tick()

    page.add("a", 4)
    lossy.loses = loses
    with pytest.raises(ConnectionLost):
        await keeper.tick()
    page.add("a", 5)
    page.add("b", 1)
    if taken_over:
        keeper = reporter(lossy, page, ledger)
    for _ in range(3):
        await keeper.tick()

    reader: MetricsInspector = inspect(broker)  # type: ignore[assignment]
    minutes = await reader.minutes(0.0)
    found = {task: Counts.sum(each.tasks[task] for each in minutes if task in each.tasks) for task in "ab"}
    assert {task: counts.of(Slot.SUCCEEDED) for task, counts in found.items()} == {"a": 12, "b": 1}
    await broker.close()


async def test_a_report_names_the_release_once(redis_url: str, app_name: str) -> None:
    broker = connect(redis_url, app_name)
    await broker.renew("host", 1)
    page = Page()
    for number in range(250):
        page.add(f"task-{number}", 1)
    source = Source(page.read, lambda: HostReport("host", release="v7"), MemoryLedger(), no_turn)
    keeper = Reporter(broker, "host", source, lambda report, took: report)  # type: ignore[arg-type]

    await keeper.tick()
    await keeper.tick()

    reader: MetricsInspector = inspect(broker)  # type: ignore[assignment]
    assert sum(each.releases.get("v7", 0) for each in await reader.minutes(0.0)) == 2
    assert all("v7" not in each.queues for each in await reader.minutes(0.0))
    await broker.close()


async def test_many_tasks_are_reported_in_parts(redis_url: str, app_name: str) -> None:
    broker = connect(redis_url, app_name)
    await broker.renew("host", 1)
    page = Page()
    for number in range(250):
        page.add(f"task-{number}", number + 1)
    keeper = reporter(broker, page, MemoryLedger())  # type: ignore[arg-type]

    await keeper.tick()
    await keeper.tick()

    reader: MetricsInspector = inspect(broker)  # type: ignore[assignment]
    total = Counts.sum(counts for minute in await reader.minutes(0.0) for counts in minute.tasks.values())
    assert total.of(Slot.SUCCEEDED) == 250 * 251 // 2
    await broker.close()
