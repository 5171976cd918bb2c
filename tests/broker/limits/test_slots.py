"""A limit of how many jobs run at once: each sentence of its promise is a test."""

from __future__ import annotations

import asyncio

import pytest

from aiotask.broker import BATCH_JOBS, Cancelled, Room, Settled
from aiotask.brokers.limits import Limits
from aiotask.job import Meta, Status
from aiotask.values.limit import LimitSpec

from ...helpers import wait_until_async
from ...seam import GONE, Worker, ids, is_unknown, promoted_all, send, status_of
from .words import Declare, end, limited

AGAIN = Meta(attempt=2)


async def test_no_more_jobs_are_claimed_than_may_run(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=2)
    await send(limits, *(limited(f"job-{n}") for n in range(5)))

    claim = await worker.claim()
    assert ids(claim) == ["job-0", "job-1"]
    assert ids(await worker.claim()) == []

    assert await end(worker, claim.deliveries[0]) == [Settled.DONE]
    assert ids(await worker.claim()) == ["job-2"]


async def test_each_key_has_slots_of_its_own(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running_each=1, max_running=3)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(2) for key in "abcd"))

    claim = await worker.claim()
    assert ids(claim) == ["a-0", "b-0", "c-0"]
    assert ids(await worker.claim()) == []

    await end(worker, claim.deliveries[0])
    assert ids(await worker.claim()) == ["d-0"], "keys take turns, and the one that waits longest is first"


async def test_keys_take_turns_however_long_the_line_of_one_is(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare()
    await send(limits, *(limited(f"long-{n}", "long") for n in range(BATCH_JOBS)))
    await send(limits, *(limited(f"short-{n}", "short") for n in range(3)))

    claimed = ids(await worker.claim(10))

    assert [id for id in claimed if id.startswith("short")] == ["short-0", "short-1", "short-2"]


async def test_limits_take_turns(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare()
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("mail")])
    await send(limits, *(limited(f"api-{n}") for n in range(120)))
    await send(limits, *(limited(f"mail-{n}", name="mail") for n in range(2)))

    assert {"mail-0", "mail-1"} <= set(ids(await worker.claim(60)))


async def test_a_job_that_comes_back_keeps_its_place(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries

    assert await worker.requeue(first) is Settled.DONE
    assert await status_of(limits, "job-0") is Status.PENDING

    assert ids(await worker.claim()) == ["job-0"]


async def test_a_retry_leaves_its_slot_to_others_and_passes_the_limit_again_at_its_old_place(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries

    assert await worker.requeue(first, meta=AGAIN, delay=0.01) is Settled.DONE
    assert await status_of(limits, "job-0") is Status.RETRYING
    [second] = (await worker.claim()).deliveries
    assert second.id == "job-1"
    await wait_until_async(lambda: promoted_all(limits), description="the retry is due")
    assert await status_of(limits, "job-0") is Status.PENDING

    await end(worker, second)
    [again] = (await worker.claim()).deliveries
    assert (again.id, again.meta) == ("job-0", AGAIN)


async def test_a_job_that_came_without_its_limit_goes_into_its_line_as_it_was_sealed_anew(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("first"), "plain")
    claim = await worker.claim()
    [first] = [one for one in claim.deliveries if one.id == "first"]
    [plain] = [one for one in claim.deliveries if one.id == "plain"]
    sealed = limited("plain").sealed

    assert await worker.requeue(plain, limit="api:", sealed=sealed) is Settled.DONE
    assert ids(await worker.claim()) == []
    await end(worker, first)
    [again] = (await worker.claim()).deliveries
    assert (again.id, again.sealed) == ("plain", sealed)


@pytest.mark.trap("slot of the dead")
async def test_the_slot_of_a_dead_holder_goes_with_its_job(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("job-0"), limited("job-1"))
    await worker.claim()

    assert (await limits.recover(worker.name)).moved == 1
    claim = await other.claim()
    assert ids(claim) == ["job-0"], "the job itself runs again, and nothing beside it"
    assert claim.deliveries[0].returned

    await end(other, claim.deliveries[0])
    assert ids(await other.claim()) == ["job-1"]


async def test_a_suspect_keeps_its_slot_also_where_it_is_given_back(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("pill"), limited("next"))
    await worker.claim()
    await limits.recover(worker.name, blame=["pill"], reason="killed by SIGSEGV")

    assert (await other.claim()).suspects
    [pill] = (await other.claim(alone=True)).deliveries
    assert pill.suspect
    assert await other.requeue(pill) is Settled.DONE
    assert (await other.claim()).suspects
    [pill] = (await other.claim(alone=True)).deliveries
    assert ids(await other.claim()) == []
    await end(other, pill)
    assert ids(await other.claim()) == ["next"]


async def test_a_late_finish_frees_nothing_twice(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries
    await limits.recover(worker.name)
    [again] = (await other.claim()).deliveries

    assert await end(worker, first) == [Settled.NOT_YOURS]
    assert ids(await other.claim()) == []
    assert await end(other, again) == [Settled.DONE]
    assert await end(other, again) == [Settled.BEFORE]
    assert ids(await other.claim()) == ["job-1"]
    assert ids(await other.claim()) == []


async def test_a_cancel_takes_a_job_out_of_its_line(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries

    assert await limits.cancel("job-1", GONE, 3600.0) is Cancelled.DONE
    assert await limits.cancel("job-1", GONE, 3600.0) is Cancelled.FINISHED
    await end(worker, first)
    assert ids(await worker.claim()) == ["job-2"]


async def test_a_cancelled_job_gives_its_slot_back_however_it_ends(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries
    assert await limits.cancel("job-0", GONE, 3600.0) is Cancelled.ASKED

    await worker.requeue(first)
    assert await status_of(limits, "job-0") is None
    [second] = (await worker.claim()).deliveries
    assert second.id == "job-1"
    assert await limits.cancel("job-1", GONE, 3600.0) is Cancelled.ASKED
    await limits.recover(worker.name)
    keeper = await Worker(limits, "host.2").enlist()
    assert ids(await keeper.claim()) == ["job-2"]


async def test_what_is_no_job_of_this_app_gives_its_slot_back(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("broken"), limited("next"))
    [broken] = (await worker.claim()).deliveries

    await limits.reject(worker.name, [(broken, "its seal is not of this app")])
    assert ids(await worker.claim()) == ["next"]


@pytest.mark.trap("limit of nobody")
async def test_a_limit_that_nobody_declared_admits_nothing(limits: Limits, worker: Worker, declare: Declare) -> None:
    await send(limits, limited("early"), "plain")

    assert ids(await worker.claim()) == ["plain"]
    assert ids(await worker.claim()) == []
    await declare(max_running=1)
    assert ids(await worker.claim()) == ["early"]


async def test_a_delayed_job_comes_into_its_line_when_it_is_due(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("later", delay=0.01))
    assert await status_of(limits, "later") is Status.SCHEDULED

    await wait_until_async(lambda: promoted_all(limits), description="it is due")
    assert await status_of(limits, "later") is Status.PENDING
    assert ids(await worker.claim()) == ["later"]


async def test_no_more_are_admitted_than_the_worker_has_free_seats(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare()
    await send(limits, *(limited(f"job-{n}") for n in range(5)))

    limits.free_seats = 0
    assert ids(await worker.claim()) == []
    limits.free_seats = 2
    assert len(ids(await worker.claim())) == 2


async def test_plain_and_limited_jobs_share_a_claim(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare()
    await send(limits, *(f"plain-{n}" for n in range(20)), *(limited(f"limited-{n}") for n in range(20)))
    await worker.claim(1)  # the answer says that a limit is open

    claimed = ids(await worker.claim(10))
    assert sum(id.startswith("limited") for id in claimed) == 5

    singles = [ids(await worker.claim(1))[0].partition("-")[0] for _ in range(6)]
    assert singles.count("limited") == 3


async def test_what_one_kind_leaves_the_other_takes(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare()
    await send(limits, *(limited(f"limited-{n}") for n in range(20)), "plain")
    await worker.claim(1)

    assert len(ids(await worker.claim(10))) == 10
    await send(limits, *(f"plain-{n}" for n in range(20)))
    limits.free_seats = 1
    assert len(ids(await worker.claim(10))) == 10


async def test_a_freed_slot_wakes_a_worker_that_blocks(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await other.broker.declare_limits(1.0, "shop:app", [])  # type: ignore[attr-defined]
    await send(limits, limited("job-0"), limited("job-1"))
    [first] = (await worker.claim()).deliveries
    await other.claim()  # from now on it listens to the bell

    waits = asyncio.create_task(other.wait_for_job())
    await end(worker, first)
    assert (await waits).id == "job-1"


async def test_a_bell_heard_by_the_dead_costs_no_more_than_the_next_claim(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("job-0"))
    [first] = (await worker.claim()).deliveries
    await send(limits, limited("job-1"))
    deaf = await Worker(other.broker, "elsewhere.2").enlist()
    await deaf.claim(0)
    await deaf.wait(0.05)  # hears what there is, and dies
    await end(worker, first)

    assert ids(await worker.claim()) == ["job-1"]


async def test_a_worker_adopts_the_limited_jobs_that_it_holds(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("job"))
    [held] = (await worker.claim()).deliveries

    assert await worker.adopt() == [held]
    assert not held.suspect and not held.returned


async def test_jobs_in_lines_count_as_waiting_for_a_full_queue(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("job-0"), limited("job-1"))

    overflow = await limits.push("client", 1, [limited("job-2"), limited("job-3")], Room({"default": 3}))
    assert overflow is not None and overflow.full == ["job-3"]
    assert await is_unknown(limits, "job-3")

    await worker.claim()
    assert await limits.push("client", 2, [limited("job-4")], Room({"default": 3})) is None


async def test_an_id_that_stands_in_a_line_is_known(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("mine", custom=True))
    await send(limits, limited("mine", custom=True))

    assert len(ids(await worker.claim())) == 1
    assert ids(await worker.claim()) == []


async def test_a_replayed_letter_takes_its_place_in_its_line(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("dead"), limited("next"))
    [first] = (await worker.claim()).deliveries
    await end(worker, first, dead=True, status=Status.FAILED)
    [second] = (await worker.claim()).deliveries

    await limits.replay(["dead"])
    assert ids(await worker.claim()) == []
    await end(worker, second)
    assert ids(await worker.claim()) == ["dead"]


@pytest.mark.parametrize("key", ["a|5", "a:b", "a|", "|7", "ünïcode", "two\nlines", "*?[", ":0:api:"])
async def test_a_key_may_be_any_text(limits: Limits, worker: Worker, declare: Declare, key: str) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"job-{n}", key) for n in range(2)), limited("other", "other"))
    claim = await worker.claim()
    assert sorted(ids(claim)) == ["job-0", "other"]

    [mine] = [delivery for delivery in claim.deliveries if delivery.id == "job-0"]
    await worker.requeue(mine)
    [mine] = (await worker.claim()).deliveries
    assert mine.id == "job-0"
    await worker.requeue(mine, meta=AGAIN, delay=0.001)
    await wait_until_async(lambda: promoted_all(limits), description="the retry is due")
    assert ids(await worker.claim()) == ["job-0"]
    assert await status_of(limits, "job-1") is Status.PENDING
    await limits.recover()
    assert await status_of(limits, "job-1") is Status.PENDING
