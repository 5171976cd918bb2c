"""A limit of how many jobs run at once: each sentence of its promise is a test."""

from __future__ import annotations

from aiotask.broker import Cancelled, Settled
from aiotask.brokers.limits import Limits
from aiotask.job import Meta, Status

from ...seam import GONE, Worker, ids, park, promoted_all, send, status_of
from .words import Declare, end, limited


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

    assert ids(await worker.claim()) == ["a-0", "b-0", "c-0"]
    assert ids(await worker.claim()) == []
