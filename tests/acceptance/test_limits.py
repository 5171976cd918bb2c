"""T6 to T10: limits over several supervisors with real worker processes, some of which are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil

import aiotask
from aiotask import Status

from ..helpers import wait_until, wait_until_async
from .ledger import Entry, most_at_once
from .stage import Stage

TIMEOUT = 120


class Killer:
    """Kills worker processes, and knows when: a run that it has ended has no end in the ledger."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._at: dict[int, float] = {}

    def kill(self, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(pid)
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0)
            self._at[pid] = time.monotonic()

    def kill_one(self) -> None:
        """Kill a process in which a run is under way."""
        running = [run.pid for run in self._stage.ledger.runs() if run.end is None and run.pid not in self._at]
        if running:
            self.kill(running[0])

    def runs(self, label: Any = None) -> list[Entry]:
        """The runs, those that a kill has ended with its time."""
        found = self._stage.ledger.runs(label)
        return [replace(run, end=self._at.get(run.pid)) if run.end is None else run for run in found]


async def test_t6_one_at_a_time_over_two_hosts_in_threads_and_loops(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    for _ in range(2):
        limited.start(2)

    results = [task.apply_async(n) for n in range(40) for task in (limited.one_in_thread, limited.one_in_loop)]
    await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    runs = limited.ledger.runs("one")
    assert len(runs) == 80
    assert most_at_once(runs) == 1


async def test_t6_the_job_of_a_holder_that_was_killed_runs_again_first_and_alone(
    stage: Callable[[str], Stage],
) -> None:
    limited = stage("limited")
    for _ in range(2):
        limited.start(2)
    killer = Killer(limited)

    results = [limited.hold.apply_async(n) for n in range(3)]
    await limited.app.flush()
    holder = wait_until(lambda: limited.ledger.runs(), description="one of them runs", timeout=60)[0]
    killer.kill(holder.pid)
    wait_until(lambda: len(limited.ledger.runs()) == 2, description="it runs again", timeout=60)
    (limited.ledger.directory / "gate").touch()
    assert await asyncio.wait_for(aiotask.gather(results), TIMEOUT) == [0, 1, 2]

    runs = killer.runs()
    assert [run.label for run in runs] == ["hold 0", "hold 0", "hold 1", "hold 2"]
    assert most_at_once(runs) == 1


async def test_t7_two_of_each_tenant_and_fifty_in_all(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    hosts = [limited.start(2, "--max-in-flight", "13") for _ in range(2)]
    for host in hosts:
        wait_until(lambda host=host: "Ready" in host.log, description="the host is ready", timeout=60)  # type: ignore[misc]

    calls = [(f"tenant {n % 1_000}", n) for n in range(3_000)]
    results = [limited.render.apply_async(*call) for call in calls]
    await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    by_tenant: dict[str, list[Entry]] = defaultdict(list)
    for run in limited.ledger.runs():
        by_tenant[run.label].append(run)
    assert {len(runs) for runs in by_tenant.values()} == {3} and len(by_tenant) == 1_000
    assert max(map(most_at_once, by_tenant.values())) <= 2
    assert most_at_once(limited.ledger.runs()) <= 50
    # Three processes have room for 39.
    assert len({run.pid for run in limited.ledger.runs()}) == 4


async def test_t7_limits_hold_while_workers_are_killed(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    for _ in range(2):
        limited.start(2)
    killer = Killer(limited)

    results = [limited.render.apply_async(f"tenant {n % 10}", n) for n in range(600)]
    waiting = asyncio.ensure_future(asyncio.wait_for(aiotask.gather(results), TIMEOUT))
    for done in (50, 200, 350):
        await wait_until_async(lambda n=done: limited.ledger.ended() >= n, description="some ran", timeout=60)  # type: ignore[misc]
        killer.kill_one()
    await waiting

    by_tenant: dict[str, list[Entry]] = defaultdict(list)
    for run in killer.runs():
        by_tenant[run.label].append(run)
    assert max(map(most_at_once, by_tenant.values())) <= 2


async def test_t8_a_rate_holds_over_eight_workers_that_start_late(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    results = [limited.call.apply_async(n) for n in range(60)]
    await limited.app.flush()
    for _ in range(2):
        limited.start(4)
    await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    starts = [run.start for run in limited.ledger.runs("call")]
    rate, burst = 20.0, 1
    for first, start in enumerate(starts):
        for last in range(first, len(starts)):
            # The bound of a window: what a worker was lent, it starts within 50 ms; as much again for this machine.
            assert last - first + 1 <= rate * (starts[last] - start + 0.1) + burst + 1e-6


async def test_t8_one_retry_holds_all_workers(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    first = limited.too_many.apply_async(0)
    await first.sent()
    limited.start(2)
    wait_until(lambda: limited.ledger.ended("too many"), description="it was refused", timeout=60)
    others = [limited.too_many.apply_async(n) for n in range(1, 20)]
    await asyncio.wait_for(aiotask.gather([first, *others]), TIMEOUT)

    runs = limited.ledger.runs("too many")
    assert len(runs) == 21
    assert runs[0].end is not None
    assert min(run.start for run in runs[1:]) - runs[0].end >= 1.0 - 0.1


async def test_t9_ten_jobs_beside_thousands_of_another_tenant(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    many = [limited.fair.apply_async("many", n) for n in range(5_000)]
    ten = [limited.fair.apply_async("ten", n) for n in range(10)]
    await limited.app.flush()
    limited.start(1)
    await asyncio.wait_for(aiotask.gather(ten), TIMEOUT)
    await asyncio.wait_for(aiotask.gather(many), TIMEOUT)

    labels = [run.label for run in limited.ledger.runs()]
    last = max(place for place, label in enumerate(labels) if label == "ten")
    # Eleven turns of two tenants; jobs that were admitted together may start in another order.
    assert last < 2 * 11 + 20


async def test_t10_the_jobs_of_a_key_start_in_order_over_deaths_and_drains(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    drained = limited.start(2)
    limited.start(2)
    killer = Killer(limited)

    results = [limited.in_order.apply_async(f"key {key}", n) for n in range(15) for key in range(100)]
    waiting = asyncio.ensure_future(asyncio.wait_for(aiotask.gather(results), TIMEOUT))
    await wait_until_async(lambda: limited.ledger.ended() >= 100, description="some ran", timeout=60)
    killer.kill_one()
    await wait_until_async(lambda: limited.ledger.ended() >= 500, description="more ran", timeout=60)
    assert await asyncio.to_thread(drained.stop) == 0
    await waiting

    by_key: dict[str, list[Entry]] = defaultdict(list)
    for run in killer.runs():
        by_key[run.label[0]].append(run)
    for key, runs in by_key.items():
        assert most_at_once(runs) == 1, key
        order = [run.label[1] for run in runs]
        # A job that runs again does so before the next one, or, after a retry, as soon as it is due.
        firsts = list(dict.fromkeys(order))
        assert firsts == list(range(15)), key


async def test_t10_a_release_without_the_limit_lets_its_jobs_go(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    first = limited.start(1)
    assert await limited.of_before.apply_async(0).wait(TIMEOUT) == 0
    assert await asyncio.to_thread(first.stop) == 0

    results = [limited.of_before.apply_async(n) for n in range(5)]
    await limited.app.flush()
    assert await results[0].status() is Status.PENDING
    limited.env["TEST_RELEASE"] = "2"
    second = limited.start(1)
    assert await asyncio.wait_for(aiotask.gather(results), TIMEOUT) == list(range(5))
    wait_until(lambda: "were removed: before" in second.log, description="the log says so")
