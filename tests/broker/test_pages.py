"""Counts of everything, and lists of jobs page by page."""

from __future__ import annotations

import time
from typing import Any

import pytest

from aiotask.broker import Broker
from aiotask.brokers.pages import EVERY
from aiotask.errors import ConfigError
from aiotask.inspector import Inspector, JobFilter
from aiotask.job import WIRE_VERSION, Job, Status, encode_job
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async
from ..seam import WORN, Push, Worker, a_push, park, sealed_outcome, send, take


async def walk(inspector: Inspector, wanted: JobFilter = EVERY, limit: int = 3, *, newest: bool = False) -> list[str]:
    """The ids on all pages, in their order."""
    found: list[str] = []
    after = ""
    while True:
        page = await inspector.page(wanted, after, limit, newest=newest)
        assert len(page.jobs) <= limit
        found += [info.id for info in page.jobs]
        after = page.after
        if not after:
            return found


def of_task(id: str, task: str, queue: str = "default", **options: float) -> Push:
    sealed = Sealer(["test"], "job").seal(encode_job(Job(WIRE_VERSION, id, task, queue, b"")))
    return Push(id, queue, 5, sealed, **options)  # type: ignore[arg-type]


async def some_of_each(broker: Broker, worker: Worker) -> None:
    await take(worker, "running")
    await worker.requeue(await take(worker, "retrying"), meta=WORN, delay=60.0)
    await park(worker, "parked", "task:x")
    await worker.finish(await take(worker, "dead"), outcome=sealed_outcome("dead"), status=Status.FAILED, dead=True)
    await worker.finish(await take(worker, "fine"))
    await send(broker, a_push("later", delay=60.0), "pending", a_push("mail", "mail"))


async def test_stats_count_everything(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await some_of_each(broker, worker)

    stats = await inspector.stats(max_age=0.0)

    assert (stats.pending, stats.running, stats.scheduled, stats.parked, stats.waiting) == (2, 1, 2, 1, 0)
    assert (stats.dead, stats.workers) == (1, 1)
    queues = {queue.name: queue for queue in stats.queues}
    default, mail = queues["default"], queues["mail"]
    assert (default.pending, default.running, default.scheduled, default.consumers) == (1, 1, 2, 1)
    assert (mail.pending, mail.running, mail.scheduled, mail.consumers) == (1, 0, 0, 0)
    assert [queue.name for queue in await inspector.queues()] == ["default", "mail"]


async def test_ended_jobs_are_counted_by_queue_and_status(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    before = await inspector.stats()
    await some_of_each(broker, worker)
    await broker.cancel("mail", sealed_outcome("mail", Status.CANCELLED), 60.0)

    stats = await inspector.stats(max_age=0.0)

    if broker.url.startswith("sqlite"):
        assert stats.ended == {}, "the example of docs/brokers.md counts none"
        return
    queues = {queue.name: queue.ended for queue in stats.queues}
    assert queues == {"default": {"FAILED": 1, "SUCCESS": 1}, "mail": {"CANCELLED": 1}}
    assert not any(before.ended.values())
    assert {status: count for status, count in stats.ended.items() if count} == {
        "CANCELLED": 1,
        "FAILED": 1,
        "SUCCESS": 1,
    }


async def test_the_oldest_pending_job_has_an_age(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await send(broker, "a")
    [queue] = (await inspector.stats(max_age=0.0)).queues
    if broker.url.startswith("sqlite"):
        assert queue.oldest is None, "the example of docs/brokers.md keeps no ages"
        return
    assert queue.oldest is not None and 0.0 <= queue.oldest < 600

    await worker.claim()
    [queue] = (await inspector.stats(max_age=0.0)).queues
    assert queue.oldest is None


async def test_pages_of_each_status(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    await some_of_each(broker, worker)

    found = {status: await walk(inspector, JobFilter(status), 1) for status in Status}

    assert {status: ids for status, ids in found.items() if ids} == {
        Status.PENDING: ["pending", "mail"] if found[Status.PENDING][0] == "pending" else ["mail", "pending"],
        Status.SCHEDULED: ["later"],
        Status.RUNNING: ["running"],
        Status.RETRYING: ["retrying"],
        Status.PARKED: ["parked"],
        Status.FAILED: ["dead"],
    }
    for limit in (1, 2, 50):
        assert sorted(await walk(inspector, limit=limit)) == [
            "later",
            "mail",
            "parked",
            "pending",
            "retrying",
            "running",
        ]


async def test_pages_by_queue_task_and_beginning_of_the_id(broker: Broker, inspector: Inspector) -> None:
    tasks = ("shop:a", "shop:b")
    await send(broker, *(of_task(f"{task[-1]}{n}", task) for n in range(9) for task in tasks))
    await send(broker, *(of_task(f"{task[-1]}-mail", task, "mail") for task in tasks))
    await send(broker, *(of_task(f"{task[-1]}-later", task, delay=60.0) for task in tasks))
    every = [f"a{n}" for n in range(9)]

    assert sorted(await walk(inspector, JobFilter(task="shop:a"))) == ["a-later", "a-mail", *every]
    assert await walk(inspector, JobFilter(Status.PENDING, "default", "shop:a")) == every
    assert await walk(inspector, JobFilter(queue="mail")) == ["a-mail", "b-mail"]
    assert await walk(inspector, JobFilter(Status.SCHEDULED, "default", "shop:b")) == ["b-later"]
    assert await walk(inspector, JobFilter(prefix="b7")) == ["b7"]
    assert await walk(inspector, JobFilter(task="shop:none")) == []


async def test_pages_by_text_in_the_envelope(broker: Broker, inspector: Inspector, worker: Worker) -> None:
    def with_text(id: str, text: str, **options: Any) -> Push:
        return a_push(id, body=b"J" + text.encode(), **options)

    await send(broker, with_text("parked", "kräuter-7"))
    [delivery] = (await worker.claim()).deliveries
    await worker.requeue(delivery, need="task:gone")
    await send(broker, with_text("one", "kräuter-7"), with_text("two", "kräuter-8"), "none")
    await send(broker, with_text("later", "kräuter-7", delay=60.0))

    assert sorted(await walk(inspector, JobFilter(text="kräuter-7"))) == ["later", "one", "parked"]
    assert sorted(await walk(inspector, JobFilter(text="kräuter"))) == ["later", "one", "parked", "two"]
    assert await walk(inspector, JobFilter(Status.PENDING, text="kräuter-7")) == ["one"]
    # It is text, no pattern.
    assert await walk(inspector, JobFilter(text="kr.*")) == [] == await walk(inspector, JobFilter(text="%s"))


async def test_a_job_that_stays_is_listed_once_whatever_comes_and_goes(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    await send(broker, *(f"run-{n}" for n in range(20)))
    running = (await worker.claim(20)).deliveries
    await send(broker, *(a_push(f"stays-{n:04}", "mail", n % 10) for n in range(600)))
    await send(broker, *(a_push(f"due-{n:04}", delay=600.0 + n % 3) for n in range(300)))
    await send(broker, *(a_push(f"goes-{n:04}", delay=601.0) for n in range(50)))
    found: list[str] = []
    after, number = "", 0

    while True:
        page = await inspector.page(after=after, limit=47)
        found += [info.id for info in page.jobs]
        after, number = page.after, number + 1
        if not after:
            break
        await send(broker, a_push(f"comes-{number}", "mail", number % 10))
        if running:
            await worker.finish(running.pop())
        if number <= 50:
            await broker.cancel(f"goes-{number - 1:04}", sealed_outcome("x", Status.CANCELLED), 0.0)

    stayed = [id for id in found if id.startswith(("stays-", "due-"))]
    assert len(stayed) == len(set(stayed)) == 900
    assert len(found) == len(set(found))


async def test_a_page_goes_on_behind_a_job_that_is_gone(broker: Broker, inspector: Inspector) -> None:
    gone = sealed_outcome("gone", Status.CANCELLED)
    await send(broker, "a", "b", "c", *(a_push(f"due-{n}", eta=4_000_000_000.0) for n in range(3)))
    first = await inspector.page(limit=2)
    await broker.cancel(first.jobs[-1].id, gone, 0.0)
    second = await inspector.page(after=first.after, limit=2)
    assert [info.id for info in [*first.jobs, *second.jobs]] == ["a", "b", "c", "due-0"]

    await broker.cancel("due-0", gone, 0.0)
    assert [info.id for info in (await inspector.page(after=second.after)).jobs] == ["due-1", "due-2"]


async def test_dead_letters_are_on_pages_the_latest_first(worker: Worker, inspector: Inspector) -> None:
    names = [f"dead-{n}" for n in range(7)]
    for name in names:
        await worker.finish(await take(worker, name), status=Status.FAILED, dead=True)

    assert await walk(inspector, JobFilter(Status.FAILED)) == names[::-1]
    assert await walk(inspector, JobFilter(Status.FAILED, prefix="dead-3")) == ["dead-3"]


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_the_newest_jobs_of_all_queues_come_first(
    broker: Broker, worker: Worker, inspector: Inspector, limit: int
) -> None:
    await send(broker, a_push("running"))
    assert [each.id for each in (await worker.claim(1)).deliveries] == ["running"]
    ids = [f"job-{n}" for n in range(24)]
    for n, id in enumerate(ids):
        await send(broker, of_task(id, f"shop:{n % 2}", f"queue-{n % 3}"))
        # Jobs that come to several queues within a millisecond have no order.
        sent = time.time()
        await wait_until_async(lambda sent=sent: time.time() > sent + 0.003, description="the clock has moved on")
    await send(broker, a_push("later", delay=600.0), a_push("latest", delay=900.0))

    for wanted, expected in (
        (EVERY, [*ids[::-1], "running", "later", "latest"]),
        (JobFilter(Status.PENDING), ids[::-1]),
        (JobFilter(Status.PENDING, task="shop:1"), ids[::-2]),
        (JobFilter(queue="queue-2"), ids[:1:-3]),
        (JobFilter(prefix="job-2"), ["job-23", "job-22", "job-21", "job-20", "job-2"]),
        (JobFilter(Status.SCHEDULED), ["later", "latest"]),
        (JobFilter(Status.RUNNING), ["running"]),
    ):
        assert await walk(inspector, wanted, limit, newest=True) == expected, wanted
        assert sorted(await walk(inspector, wanted, limit)) == sorted(expected)


async def test_a_job_that_stays_is_listed_once_from_the_newest_on(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    # Many of one call have their places at the same moment.
    await send(broker, *(a_push(f"stays-{n:04}", f"queue-{n % 40}", n % 10) for n in range(600)))
    await send(broker, *(f"goes-{n}" for n in range(60)))
    found: list[str] = []
    after, number = "", 0
    while True:
        page = await inspector.page(after=after, limit=37, newest=True)
        found += [info.id for info in page.jobs]
        after, number = page.after, number + 1
        if not after:
            break
        await send(broker, a_push(f"comes-{number}", f"queue-{number % 40}"))
        await broker.cancel(f"goes-{number}", sealed_outcome("x", Status.CANCELLED), 0.0)

    stayed = [id for id in found if id.startswith("stays-")]
    assert len(stayed) == len(set(stayed)) == 600
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "after", ["?", "dx y", "[]", '["no","such",{}]', "Lx", "Lq:default:5|x", "Lq:default:5|1-", "L|1-1"]
)
async def test_a_place_that_no_page_gave_is_refused(broker: Broker, inspector: Inspector, after: str) -> None:
    await send(broker, "a", a_push("b", delay=60.0))

    with pytest.raises(ConfigError, match="is no place"):
        await inspector.page(after=after)
