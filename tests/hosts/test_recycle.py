"""A recycled host: its processes are replaced one by one, and no job notices."""

from __future__ import annotations

import asyncio

from aiotask.ops.visitors import Verb

from ..helpers import wait_until, wait_until_async
from ..supervisor.seen import live, started
from .operator import Operated


async def test_jobs_go_on_while_processes_are_replaced_one_by_one(operated: Operated) -> None:
    stage = operated.stage
    supervisor, host = await operated.start(2)
    old = await operated.live(2)
    running = stage.nap.apply_async(1.5, "running")
    pid = await started(stage, "running")
    results, least, over = [], 2, False

    async def send() -> None:
        while not over:
            results.append(stage.nap.apply_async(0.01, "short"))
            await results[-1]

    sending = [asyncio.create_task(send()) for _ in range(4)]
    assert await operated.told(Verb.RECYCLE, host) == "2 worker processes are replaced one by one."

    async def replaced() -> bool:
        nonlocal least
        pids = await live(stage.app)
        least = min(least, len(pids))
        return not pids & old

    await wait_until_async(replaced, description="the old ones are gone")
    over = True
    await asyncio.gather(*sending)
    # Each new one was in service before an old one went.
    assert least == 2
    assert await running == 1 and pid in old
    assert set(stage.ledger.counts().values()) == {1}
    assert len(results) + 1 == len(stage.ledger.counts())
    assert "Recycled by ada." in supervisor.log


async def test_a_drained_host_is_recycled_and_stays_drained(operated: Operated) -> None:
    supervisor, host = await operated.start(1)
    old = await operated.live(1)
    await operated.told(Verb.DRAIN, host)
    assert await operated.told(Verb.RECYCLE, host) == "1 worker process is replaced one by one."
    fresh = await operated.live(1, without=old)
    waiting = operated.stage.pid.apply_async()
    await operated.stage.app.flush()
    assert await operated.told(Verb.DRAIN, host) == "It was drained already, by ada."
    assert await operated.pending() == 1
    await operated.told(Verb.RESUME, host)
    assert {await waiting} == fresh
    wait_until(lambda: len(supervisor.children()) == 2, description="one worker and one keeper are left")
