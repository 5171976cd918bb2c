"""What is read of jobs: bounded in bytes, and true while the jobs move."""

from __future__ import annotations

import asyncio

import pytest

from aiotask.broker import BATCH_BYTES, Broker
from aiotask.inspector import Inspector
from aiotask.job import Status

from .seam import Worker, drain, sealed_outcome, send
from .server import PrivateServer


class TestLargeOutcomes:
    @pytest.fixture
    def broker_url(self, own_server: PrivateServer) -> str:
        """A server of its own: its commands are counted."""
        return own_server.url

    async def test_no_script_returns_more_outcomes_than_one_beyond_the_limit(
        self, own_server: PrivateServer, broker: Broker
    ) -> None:
        worker = await Worker(broker, "host.1").enlist()
        names = [f"job-{n}" for n in range(12)]
        await send(broker, *names)
        for delivery in (await worker.claim()).deliveries:
            await worker.finish(delivery, outcome=sealed_outcome(delivery.id, value=b"x" * (BATCH_BYTES // 2)))
        await broker.status(["job-0"])
        before = own_server.call("INFO", "commandstats")["cmdstat_evalsha"]["calls"]

        states = await broker.status([*names, "unknown"])

        calls = own_server.call("INFO", "commandstats")["cmdstat_evalsha"]["calls"] - before
        assert calls >= len(names) // 2, "one script returned several times the limit"
        assert [state.outcome is not None for state in states] == [True] * len(names) + [False]
        assert all(name.encode() in (state.outcome or b"") for name, state in zip(names, states, strict=False))


async def test_a_job_that_exists_is_never_unknown_while_it_moves(broker: Broker, inspector: Inspector) -> None:
    worker = await Worker(broker, "host.1").enlist()
    names = [f"job-{n}" for n in range(300)]
    seen: set[Status] = set()
    unknown: list[str] = []

    async def work() -> None:
        for start in range(0, len(names), 5):
            await send(broker, *names[start : start + 5])
            for delivery in (await worker.claim()).deliveries:
                await worker.requeue(delivery)
            for delivery in (await worker.claim()).deliveries:
                await worker.finish(delivery)

    async def status() -> None:
        # Of the jobs that are accepted, the newest ones move.
        newest = 0
        while not working.done():
            while newest + 1 < len(names) and await inspector.job(names[newest + 1]) is not None:
                newest += 1
            info = await inspector.job(names[newest])
            if info is None:
                unknown.append(names[newest])
            else:
                seen.add(info.status)

    await send(broker, "first")
    await drain(worker)
    names.insert(0, "first")
    working = asyncio.create_task(work())
    await asyncio.gather(working, status(), status(), status())

    assert not unknown
    assert seen >= {Status.RUNNING, Status.SUCCESS}


async def test_a_single_job_is_described_wherever_it_is(broker: Broker, inspector: Inspector) -> None:
    from .seam import a_push, requeue

    worker = await Worker(broker, "host.1").enlist()
    await send(broker, "waits", a_push("later", delay=3600.0))

    waits, later = await inspector.job("waits"), await inspector.job("later")
    [delivery] = (await worker.claim()).deliveries
    runs = await inspector.job("waits")
    await broker.requeue(worker.name, [requeue(delivery, delay=3600.0)])
    retries = await inspector.job("waits")

    assert waits is not None and (waits.status, waits.worker) == (Status.PENDING, "")
    assert later is not None and later.status is Status.SCHEDULED and later.due_at and later.sealed
    assert runs is not None and (runs.status, runs.worker) == (Status.RUNNING, "host.1")
    assert runs.sealed == waits.sealed and runs.id == "waits"
    assert retries is not None and retries.status is Status.RETRYING
    assert await inspector.job("never sent") is None
