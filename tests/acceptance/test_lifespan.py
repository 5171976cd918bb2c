"""G27: what is open as long as a worker is: from before the first claim until after the drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from signal import Signals

import pytest

import aiotask
from aiotask import App, ConfigError, Depends

from ..helpers import wait_until, wait_until_async
from .events import events
from .stage import Put, Stage

TIMEOUT = 60


def whats(stage: Stage) -> list[str]:
    return [each.what for each in events(stage.ledger.directory)]


async def test_g27_each_process_opens_its_own_before_its_first_job_and_closes_it_after_the_last(stage: Put) -> None:
    lifelong = stage("lifelong")
    waiting = [lifelong.sync.apply_async() for _ in range(50)]
    await lifelong.app.flush()

    supervisor = await asyncio.to_thread(lifelong.start, 2)
    waiting += [task.apply_async() for _ in range(50) for task in (lifelong.sync, lifelong.in_loop)]
    values = await asyncio.wait_for(aiotask.gather(waiting), TIMEOUT)
    assert await asyncio.to_thread(supervisor.stop) == 0

    assert all(opened == ran for opened, ran, _ in values)
    seen = events(lifelong.ledger.directory)
    for pid in {each.pid for each in seen}:
        mine = [each for each in seen if each.pid == pid]
        runs = [each for each in mine if each.what == "run"]
        assert [each.what for each in mine[:2]] == ["open pool", "open cache"]
        assert [each.what for each in mine[-2:]] == ["close cache", "close pool"]
        assert len(mine) == 4 + len(runs)
        assert all(run.detail for run in runs)
    assert len({pool for _, pid, pool in values}) <= 2


async def test_g27_a_stop_lets_running_jobs_end_before_it_closes(stage: Put) -> None:
    lifelong = stage("lifelong")
    supervisor = await asyncio.to_thread(lifelong.start)
    result = lifelong.hold.apply_async()
    await wait_until_async(lambda: "run" in whats(lifelong), description="it runs")

    supervisor.signal(Signals.SIGTERM)
    await wait_until_async(lambda: "Stopping" in supervisor.log, description="it stops")
    Path(lifelong.GATE).touch()

    assert await result.wait(TIMEOUT) == "held"
    assert await asyncio.to_thread(supervisor.wait) == 0
    seen = events(lifelong.ledger.directory)
    assert [each.what for each in seen[-3:]] == ["ran", "close cache", "close pool"]
    assert seen[-3].detail is True


async def test_g27_a_process_that_follows_opens_its_own(stage: Put) -> None:
    lifelong = stage("lifelong")
    await asyncio.to_thread(lifelong.start, 1, "--max-jobs-per-child", "10")

    async def have_two_run() -> bool:
        opened, ran, _ = await lifelong.sync.apply_async().wait(TIMEOUT)
        assert opened == ran
        pids.add(ran)
        return len(pids) > 1

    pids: set[int] = set()
    await wait_until_async(have_two_run, description="a second process runs jobs")
    await wait_until_async(lambda: "close pool" in whats(lifelong), description="the first one has closed")


def test_g27_a_burst_closes_it(stage: Put) -> None:
    lifelong = stage("lifelong")
    result = lifelong.sync.apply_async()
    result.blocking.sent()

    assert lifelong.start(1, "--burst", wait=False).wait() == 0
    assert result.get(TIMEOUT)
    assert whats(lifelong) == ["open pool", "open cache", "run", "close cache", "close pool"]


async def test_g27_a_process_that_a_job_forks_does_not_close_it(stage: Put) -> None:
    lifelong = stage("lifelong")
    await asyncio.to_thread(lifelong.start)

    assert await lifelong.fork.apply_async().wait(TIMEOUT) == 0
    assert await lifelong.sync.apply_async().wait(TIMEOUT)

    assert "close pool" not in whats(lifelong)


def test_g27_a_failure_at_the_start_stops_the_supervisor_with_the_reason(stage: Put) -> None:
    lifelong = stage("lifelong")
    (lifelong.ledger.directory / "is down").touch()

    supervisor = lifelong.start(2, wait=False)

    assert supervisor.wait() == 3
    assert "The app could not be loaded." in supervisor.log
    assert f'The lifespan of app "{lifelong.app.name}" failed: ConnectionError: the database is down' in supervisor.log
    assert "run" not in whats(lifelong)


def test_g27_a_reload_whose_lifespan_fails_leaves_the_old_processes_at_work(stage: Put) -> None:
    lifelong = stage("lifelong")
    supervisor = lifelong.start()
    (lifelong.ledger.directory / "is down").touch()

    supervisor.signal(Signals.SIGHUP)
    wait_until(lambda: "the old processes keep running" in supervisor.log, description="the reload is given up")

    assert lifelong.sync.apply_async().get(TIMEOUT)
    assert "close pool" not in whats(lifelong)
    assert supervisor.stop() == 0


def test_g27_a_stop_while_it_is_being_opened_ends_at_once(stage: Put) -> None:
    lifelong = stage("lifelong")
    (lifelong.ledger.directory / "hangs").touch()
    supervisor = lifelong.start(wait=False)
    wait_until(lambda: "open hangs" in whats(lifelong), description="it is being opened")

    assert supervisor.stop() == 0


async def test_g27_a_killed_process_is_followed_by_one_with_its_own(stage: Put) -> None:
    lifelong = stage("lifelong")
    supervisor = await asyncio.to_thread(lifelong.start)
    opened, _, _ = await lifelong.sync.apply_async().wait(TIMEOUT)

    process = next(child for child in supervisor.children() if child.pid == opened)
    process.kill()

    other, ran, _ = await lifelong.sync.apply_async().wait(TIMEOUT)
    assert other == ran != opened


# ---- in a loop of this process


async def test_g27_a_worker_in_this_loop_has_it_too() -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        seen.append("open")
        yield "resource"
        seen.append("close")

    app = App("in-loop", url="memory://", lifespan=[resource])

    @app.task
    def sync(value: str = Depends(resource)) -> str:
        seen.append("run")
        return value

    for _ in range(2):
        async with app, app.worker():
            assert await aiotask.gather([sync.apply_async() for _ in range(3)]) == ["resource"] * 3
        assert seen == ["open", "run", "run", "run", "close"]
        seen.clear()


async def test_g27_an_overridden_provider_is_not_opened() -> None:
    @contextlib.asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        raise AssertionError("a test must not connect")
        yield "resource"

    app = App("overridden", url="memory://", lifespan=[resource])

    @app.task
    async def use(value: str = Depends(resource)) -> str:
        return value

    with app.override(resource, "a fake"):
        async with app, app.worker():
            assert await use.apply_async() == "a fake"


async def test_g27_errors_of_the_lifespan_reach_the_block_and_close_what_was_opened() -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def first() -> AsyncIterator[None]:
        yield
        seen.append("close first")

    @contextlib.asynccontextmanager
    async def careful(below: None = Depends(first)) -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("close careful")

    @contextlib.asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise ConnectionError("the database is down")
        yield

    app = App("broken", url="memory://", lifespan=[careful, broken])

    with pytest.raises(ConnectionError, match="is down"):
        async with app.worker():
            raise AssertionError("no worker is to start")
    assert seen == ["close careful"]

    @contextlib.asynccontextmanager
    async def unclosed() -> AsyncIterator[None]:
        yield
        raise OSError("at the close")

    app = App("unclosed", url="memory://", lifespan=[first, unclosed])
    with pytest.raises(OSError, match="at the close"):
        async with app.worker():
            pass


def test_g27_what_is_no_provider_is_refused() -> None:
    with pytest.raises(ConfigError, match="not callable"):
        App("wrong", lifespan=["pool"])  # type: ignore[list-item]


async def test_g27_a_close_that_hangs_is_cancelled_and_the_others_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotask.worker.lifespan.CLOSE_TIMEOUT", 0.1)
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def first() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("close first")

    @contextlib.asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        yield
        seen.append("hangs")
        await asyncio.sleep(600)

    app = App("hanging", url="memory://", lifespan=[first, hanging])
    async with app.worker():
        pass
    assert seen == ["hangs", "close first"]
