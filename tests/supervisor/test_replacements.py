"""Processes are replaced: for fresh code, after their number of jobs, or because they grow."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from aiotask import App

from ..acceptance.stage import Stage
from ..helpers import wait_until, wait_until_async
from ..workers import Workers
from .seen import live, live_workers
from .source import Source, all_run


async def test_fresh_code_replaces_processes_one_by_one(source: Source, app: App, workers: Workers) -> None:
    supervisor = source.start(workers, 2)
    old = await live_workers(app, 2)
    running = app.s("versioned:nap", 1.0).apply_async()
    await all_run(app, "1")
    source.write("2")
    supervisor.signal(signal.SIGHUP)
    least = 2

    async def replaced() -> bool:
        nonlocal least
        pids = await live(app)
        least = min(least, len(pids))
        return not pids & old

    await wait_until_async(replaced, description="the old ones are gone")
    # Each new one was in service before an old one went.
    assert least == 2
    await all_run(app, "2")
    # What ran has ended where it began.
    version, pid = await running
    assert version == "1" and pid in old
    assert len(supervisor.children()) == 3


async def test_code_that_does_not_load_leaves_the_old_processes_in_service(
    source: Source, app: App, workers: Workers
) -> None:
    supervisor = source.start(workers, 2)
    old = await live_workers(app, 2)
    source.write("2", more="raise RuntimeError('half a deployment')")
    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: "The new code does not load" in supervisor.log, description="it was tried")
    assert "so the old processes keep running." in supervisor.log and "half a deployment" in supervisor.log
    await all_run(app, "1")
    assert await live(app) == old
    source.write("3")
    supervisor.signal(signal.SIGHUP)
    await live_workers(app, 2, without=old)
    await all_run(app, "3")
    # One reason: the error, and the line of code in its traceback.
    assert supervisor.log.count("half a deployment") == 2


async def test_files_that_change_are_loaded(source: Source, app: App, workers: Workers) -> None:
    pytest.importorskip("watchfiles")
    supervisor = source.start(workers, 1, "--reload")
    old = await live_workers(app, 1)

    async def reloaded() -> bool:
        # Again and again: the watcher may have begun to watch after the first change.
        source.write("2")
        version, _ = await app.s("versioned:version").apply_async()
        return bool(version == "2")

    await wait_until_async(reloaded, description="the new code is loaded")
    await live_workers(app, 1, without=old)
    assert supervisor.stop() == 0


async def test_a_process_is_replaced_after_its_number_of_jobs(stage: Stage) -> None:
    stage.start(1, "--max-jobs-per-child", "20")
    pids = []
    for _ in range(30):
        pids += await asyncio.gather(*[stage.pid.apply_async() for _ in range(10)])
        if len(set(pids)) > 3:
            break
        await stage.nap.apply_async(0.05)
    assert len(set(pids)) > 3
    assert min(pids.count(pid) for pid in set(pids[:-10])) >= 10


async def test_a_process_that_grows_is_replaced_and_loses_nothing(stage: Stage) -> None:
    supervisor = stage.start(1, "--max-memory-per-child", "200M")
    small = await stage.grow.apply_async(1000)
    sent = [stage.aecho.apply_async(n) for n in range(500)]
    assert await stage.grow.apply_async(200_000_000) == small
    sent += [stage.aecho.apply_async(n) for n in range(500)]
    assert await asyncio.gather(*sent) == [*range(500), *range(500)]

    async def other() -> bool:
        return bool(await stage.pid.apply_async() != small)

    await wait_until_async(other, description="another process serves")
    assert re.search(r"This process is being replaced: it grew to 2\d\d MB\.", supervisor.log)
