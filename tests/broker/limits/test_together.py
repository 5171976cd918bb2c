"""Limited jobs where other features meet them: pauses, expiry, schedules, pages and counts, bulk actions."""

from __future__ import annotations

import time
from typing import cast

import msgspec
import pytest

from aiotask.broker import Push, Room, Special
from aiotask.brokers import inspect
from aiotask.brokers.due_now import DueNow
from aiotask.brokers.expiry import Expiry
from aiotask.brokers.graphs import Conclusion, Graphs, Node
from aiotask.brokers.limits import Limits, LimitsReader
from aiotask.brokers.moving import Move, Moving
from aiotask.brokers.pauses import Pause, Pauses
from aiotask.brokers.schedules import Declaration, Fire, Schedules
from aiotask.inspector import JobFilter
from aiotask.job import Status
from aiotask.wire.seal import OVERHEAD

from ...graphs import node, send_graph
from ...seam import GONE, Worker, a_push, ids, outcome_of, sealed_outcome, send, status_of
from .words import Declare, end, limited

HOUR = 3600.0
QUEUE = Pause("queue:default", queue="default")
ALL = Pause("all")


def expiring(push: Push, expires: float) -> Push:
    special = push.special or Special()
    return msgspec.structs.replace(push, special=msgspec.structs.replace(special, expires=expires))


# ---- the order of queues


async def test_by_queue_limits_admit_queue_after_queue(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=100)
    worker.queues = ["images", "mail"]
    await send(limits, *(limited(f"m{n}", queue="mail", priority=n) for n in (5, 1)))
    await send(limits, *(limited(f"i{n}", queue="images", priority=n) for n in (9, 4)))
    limits.by_queue = True

    assert ids(await worker.claim()) == ["i4", "i9", "m1", "m5"]


# ---- pauses


@pytest.mark.parametrize("pause", [QUEUE, ALL], ids=["queue", "all"])
async def test_nothing_of_a_paused_queue_is_admitted(
    limits: Limits, worker: Worker, declare: Declare, pause: Pause
) -> None:
    await declare(max_running=1)
    await send(limits, limited("first"), limited("second"))
    pauses = cast("Pauses", limits)
    await pauses.pause(pause)

    for _ in range(3):
        claim = await worker.claim()
        assert (ids(claim), claim.paused) == ([], True)
    assert await status_of(limits, "first") is Status.PENDING

    await pauses.resume(pause.id)
    assert ids(await worker.claim()) == ["first"]


async def test_a_worker_that_is_woken_admits_nothing_of_a_paused_queue(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await cast("Pauses", limits).pause(QUEUE)
    await send(limits, limited("first"), limited("other", queue="mail"))
    worker.queues = ("default", "mail")

    # The first one may only find that the lanes are new.
    found = ids(await worker.wait()) or ids(await worker.wait())
    assert found == ["other"]
    assert await status_of(limits, "first") is Status.PENDING


async def test_limited_jobs_are_claimed_while_another_queue_is_paused(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=2)
    await cast("Pauses", limits).pause(Pause("queue:mail", queue="mail"))
    await send(limits, limited("first"), "plain", limited("second"))
    worker.queues = ("default", "mail")

    found = ids(await worker.claim()) + ids(await worker.claim())

    assert sorted(found) == ["first", "plain", "second"]


# ---- expiry


async def test_a_job_expires_in_its_line(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("holder"), expiring(limited("gone"), time.time() - HOUR), limited("next"))
    [holder] = (await worker.claim(1)).deliveries
    expiry = cast("Expiry", limits)

    await expiry.promote()
    [job] = expiry.expired
    assert (job.id, job.task) == ("gone", "shop.tasks:render")

    outcome = sealed_outcome("gone", Status.EXPIRED)
    await cast("Graphs", limits).conclude([Conclusion("gone", outcome, Status.EXPIRED, HOUR)])
    assert await outcome_of(limits, "gone") == outcome
    assert (await inspect(limits).stats()).queues[0].ended == {"EXPIRED": 1}
    await end(worker, holder)
    assert ids(await worker.claim()) == ["next"]


async def test_a_limited_job_that_has_ended_expires_no_more(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, expiring(limited("one"), -HOUR))
    [one] = (await worker.claim()).deliveries
    expiry = cast("Expiry", limits)
    assert (await expiry.seconds_left(["one"]))[0] is not None

    await end(worker, one)

    assert await expiry.seconds_left(["one"]) == [None]


async def test_a_ready_node_comes_into_its_line_and_expires_there(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    # A key is any text.
    jobs: list[Node] = []
    for number, key in ((1, "a|b"), (2, "7|-3")):
        plain = node(number)
        jobs.append(msgspec.structs.replace(plain, push=expiring(limited(plain.push.id, key), -HOUR)))
    await send_graph(cast("Graphs", limits), "n2", jobs)

    left = await cast("Expiry", limits).seconds_left(["n1", "n2"])
    assert all(seconds is not None and HOUR - 60 < seconds <= HOUR for seconds in left)
    assert len(ids(await worker.claim())) == 1


# ---- schedules


async def test_the_job_of_a_run_waits_in_the_line_of_its_limit(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    schedules = cast("Schedules", limits)
    await schedules.set_schedules([Declaration("a", b"s" * 40, b"hourly  ", 0.0)])
    state = await schedules.schedule("a")
    assert state is not None
    at = state.due + HOUR

    assert await schedules.fire(
        [Fire(state, at, at, state.last, [limited("run-1"), limited("run-2"), a_push("run-3")])]
    )

    assert sorted(ids(await worker.claim())) == ["run-1", "run-3"]
    assert await status_of(limits, "run-2") is Status.PENDING


# ---- what people see, and do to many


async def test_pages_and_counts_have_the_jobs_in_lines(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("holder"))
    [_] = (await worker.claim()).deliveries
    await send(limits, *(limited(f"job-{n}", str(n % 3)) for n in range(30)))
    await send(limits, "plain", limited("other", queue="mail"))
    view = inspect(limits)

    stats = await view.stats()
    assert (stats.pending, stats.running) == (32, 1)
    assert {info.name: info.pending for info in stats.queues} == {"default": 31, "mail": 1}

    found: list[str] = []
    after = ""
    while True:
        page = await view.page(JobFilter(Status.PENDING, "default"), after, 4)
        found += [job.id for job in page.jobs]
        after = page.after
        if not after:
            break
    assert sorted(found) == sorted(["plain", *(f"job-{n}" for n in range(30))])
    assert [job.id for job in (await view.page(JobFilter(prefix="job-7"))).jobs] == ["job-7"]
    assert [job.id for job in (await view.page(JobFilter(task="shop.tasks:other"))).jobs] == []
    assert len((await view.page(JobFilter(task="shop.tasks:render"), limit=100)).jobs) == 33
    assert [job.id for job in (await view.page(JobFilter(text="job-7"))).jobs] == ["job-7"]


async def test_a_limit_knows_how_many_of_its_jobs_wait(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=2)

    async def waiting() -> dict[str, int]:
        return {info.name: info.waiting for info in await cast("LimitsReader", inspect(limits)).limits()}

    assert await waiting() == {"api": 0}
    await send(limits, *(limited(f"job-{n}", str(n % 2), queue=("default", "mail")[n % 2]) for n in range(6)))
    await send(limits, limited("mail-0", name="mail"), limited("later", delay=HOUR), "plain")
    assert await waiting() == {"api": 6, "mail": 1}

    first, second = [each for each in (await worker.claim()).deliveries if each.id != "plain"]
    assert await waiting() == {"api": 4, "mail": 1}
    await worker.requeue(first)
    assert await waiting() == {"api": 5, "mail": 1}
    await end(worker, second)
    await limits.cancel("mail-0", GONE, HOUR)
    assert await waiting() == {"api": 5, "mail": 0}


async def test_a_job_in_a_line_ends_by_a_bulk_cancel(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("holder"), limited("one"), limited("two"))
    [holder] = (await worker.claim(1)).deliveries
    outcome = sealed_outcome("one", Status.CANCELLED)

    await cast("Graphs", limits).conclude([Conclusion(id, outcome, Status.CANCELLED, HOUR) for id in ("one", "two")])

    assert (await inspect(limits).stats()).pending == 0
    assert (await inspect(limits).stats()).ended["CANCELLED"] == 2
    await end(worker, holder)
    assert ids(await worker.claim()) == []


async def test_a_scheduled_job_that_is_run_at_once_comes_into_its_line(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("holder"), limited("later", delay=HOUR))
    [holder] = (await worker.claim(1)).deliveries
    assert (await inspect(limits).stats()).queues[0].scheduled == 1

    assert await cast("DueNow", limits).make_due(["later"]) == [True]
    await limits.promote()

    assert ids(await worker.claim()) == []
    await end(worker, holder)
    assert ids(await worker.claim()) == ["later"]


async def test_jobs_in_lines_count_for_the_room_of_their_queue(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("one"), limited("two"))

    overflow = await limits.push("client", 1, [limited("three"), a_push("four")], Room({"default": 3}))

    assert overflow is not None and overflow.full == ["four"]


# ---- jobs that are moved


async def test_moved_jobs_keep_their_limit_and_their_order_in_line(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"j{n}") for n in range(4)), limited("there", queue="other"))
    inspector, batch = inspect(limits), []
    for id in ("j3", "j1"):
        info = await inspector.job(id)
        assert info is not None and info.sealed is not None
        batch.append(Move(id, info.sealed[:OVERHEAD], limited(id, queue="other").sealed))
    assert await cast("Moving", limits).move("other", batch) == [True, True]

    stats = {each.name: each.pending for each in (await inspector.stats()).queues}
    assert stats == {"default": 2, "other": 3}
    # One at a time: it is the same limit, and who was sent earlier comes earlier.
    order, other = [], await Worker(limits, "host-2.1", ["other"]).enlist()
    while delivery := (await other.claim()).deliveries:
        order += ids(delivery)
        assert ids(await worker.claim()) == []
        await end(other, delivery[0])
    assert order == ["j1", "j3", "there"]
    assert ids(await worker.claim()) == ["j0"]
