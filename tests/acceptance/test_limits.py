"""T6 to T8: limits over several supervisors with real worker processes, some of which are killed. T6 is C12 too."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import pytest

import aiotask

from ..helpers import wait_until, wait_until_async
from ..workers import Supervisor
from .killer import Killer
from .ledger import Entry, most_at_once
from .stage import Stage

TIMEOUT = 120


def start_hosts(stage: Stage, hosts: int, *options: str, concurrency: int) -> list[Supervisor]:
    """Several supervisors, once all of them are in service."""
    started = [stage.start(concurrency, *options, wait=False) for _ in range(hosts)]
    for each in started:
        each.wait_for_banner(60)
    return started


async def test_t6_one_at_a_time_over_two_hosts_in_threads_and_loops(
    stage: Callable[[str], Stage], is_full: bool
) -> None:
    limited, jobs = stage("limited"), 400 if is_full else 40
    start_hosts(limited, 2, concurrency=4)

    results = [task.apply_async(n) for n in range(jobs) for task in (limited.one_in_thread, limited.one_in_loop)]
    await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    runs = limited.ledger.runs("one")
    assert len(runs) == 2 * jobs
    assert most_at_once(runs) == 1


@pytest.mark.parametrize("task", ["hold", "hold_in_thread"])
async def test_t6_the_job_of_a_holder_that_was_killed_runs_again_first_and_alone(
    stage: Callable[[str], Stage], task: str
) -> None:
    limited = stage("limited")
    start_hosts(limited, 2, concurrency=2)
    killer = Killer(limited)

    results = [getattr(limited, task).apply_async(n) for n in range(3)]
    await limited.app.flush()
    holder = wait_until(lambda: limited.ledger.runs(), description="one of them runs", timeout=60)[0]
    killer.kill(holder.pid)
    wait_until(lambda: len(limited.ledger.runs()) == 2, description="it runs again", timeout=60)
    (limited.ledger.directory / "gate").touch()
    assert await asyncio.wait_for(aiotask.gather(results), TIMEOUT) == [0, 1, 2]

    runs = killer.runs()
    assert [run.label for run in runs] == ["hold 0", "hold 0", "hold 1", "hold 2"]
    assert most_at_once(runs) == 1


async def test_t7_two_of_each_tenant_and_fifty_in_all(stage: Callable[[str], Stage], is_full: bool) -> None:
    limited = stage("limited")
    # In full size runs are long beside the time in which a seat passes from one to the next.
    tenants, each, seconds = (1_000, 5, 0.2) if is_full else (300, 3, 0.003)
    # Room for 52 runs, of which three processes have 39.
    start_hosts(limited, 2, "--max-in-flight", "13", concurrency=2)

    results = [limited.render.apply_async(f"tenant {n % tenants}", n, seconds) for n in range(tenants * each)]
    await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    runs, by_tenant = limited.ledger.runs(), of_labels(limited.ledger.runs())
    assert {len(of_one) for of_one in by_tenant.values()} == {each} and len(by_tenant) == tenants
    assert max(map(most_at_once, by_tenant.values())) <= 2
    assert most_at_once(runs) <= 50
    assert len({run.pid for run in runs}) == 4
    # Until then every key has jobs that wait for a slot of the whole limit.
    idle = idle_shares(runs, before=min(max(run.start for run in of_one) for of_one in by_tenant.values()))
    print(f"shares of the time that the processes ran nothing while every key could go on: {idle}")
    assert not is_full or max(idle) < 0.1


async def test_t7_every_slot_is_taken_while_any_key_may_go_on(stage: Callable[[str], Stage]) -> None:
    limited, keys, each = stage("limited"), 40, 5
    start_hosts(limited, 2, "--max-in-flight", "13", concurrency=2)
    results = [limited.behind_gate.apply_async(f"tenant {n % keys}", n) for n in range(keys * each)]

    def running() -> list[Entry]:
        return [run for run in limited.ledger.runs() if run.end is None]

    def may_run() -> int:
        """How many run if no slot stands empty: two of each key at most, and fifty in all."""
        ended = Counter(run.label[0] for run in limited.ledger.runs() if run.end is not None)
        return min(50, sum(min(2, each - ended[f"tenant {key}"]) for key in range(keys)))

    while limited.ledger.ended() < keys * each:
        await wait_until_async(lambda: len(running()) == may_run() > 0, description="all that may run do", timeout=60)
        if may_run() == 50:
            assert len({run.pid for run in running()}) == 4
        let_go = running()[:25]
        ended = limited.ledger.ended() + len(let_go)
        for run in let_go:
            (limited.ledger.directory / f"gate {run.label[1]}").touch()
        await wait_until_async(lambda n=ended: limited.ledger.ended() >= n, description="they end", timeout=60)  # type: ignore[misc]
    assert await asyncio.wait_for(aiotask.gather(results), TIMEOUT) == list(range(keys * each))
    assert most_at_once(limited.ledger.runs()) == 50


async def test_t7_limits_hold_while_workers_are_killed(stage: Callable[[str], Stage]) -> None:
    limited = stage("limited")
    start_hosts(limited, 2, concurrency=2)
    killer = Killer(limited)

    results = [limited.render.apply_async(f"tenant {n % 10}", n) for n in range(600)]
    waiting = asyncio.ensure_future(asyncio.wait_for(aiotask.gather(results), TIMEOUT))
    for done in (50, 200, 350):
        await wait_until_async(lambda n=done: limited.ledger.ended() >= n, description="some ran", timeout=60)  # type: ignore[misc]
        killer.kill_one()
    await waiting

    assert max(map(most_at_once, of_labels(killer.runs()).values())) <= 2


def of_labels(runs: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for run in runs:
        found[run.label].append(run)
    return found


def idle_shares(runs: Sequence[Entry], before: float) -> list[float]:
    """For each process the part of the time from its first run to ``before`` in which it ran nothing."""
    by_process: dict[int, list[Entry]] = defaultdict(list)
    for run in runs:
        by_process[run.pid].append(run)
    shares = []
    for own in by_process.values():
        busy_until, idle = own[0].start, 0.0
        for run in own:
            idle += max(0.0, min(run.start, before) - busy_until)
            busy_until = max(busy_until, before if run.end is None else run.end)
        span = before - own[0].start
        shares.append(round((idle + max(0.0, before - busy_until)) / span, 3) if span > 0 else 0.0)
    return shares


RATE, BURST = 20.0, 1
#: Seconds within which a worker starts what it was lent, and as much again for a machine that has other things to do.
LATE, MORE = 0.05, 0.05


async def test_t8_a_rate_holds_from_empty_after_a_pause_and_for_workers_that_start_late(
    stage: Callable[[str], Stage], is_full: bool
) -> None:
    limited, pause = stage("limited"), 10.0 if is_full else 0.5

    async def pass_time() -> None:
        now = time.monotonic()
        await wait_until_async(lambda: time.monotonic() > now + pause, description="some time has passed")

    # Jobs that wait while no worker is there.
    waiting = [limited.call.apply_async(n) for n in range(60)]
    await limited.app.flush()
    await pass_time()
    start_hosts(limited, 2, concurrency=4)
    await asyncio.wait_for(aiotask.gather(waiting), TIMEOUT)
    for number in range(2):
        # Workers that have nothing to do, and nothing that they have saved up.
        await pass_time()
        more = [limited.call.apply_async(100 * (number + 1) + n) for n in range(30)]
        await asyncio.wait_for(aiotask.gather(more), TIMEOUT)

    starts = [run.start for run in limited.ledger.runs("call")]
    assert len(starts) == 120
    # By how much a window is too short for the starts in it.
    excess = max(
        (last - first + 1 - BURST) / RATE - (starts[last] - starts[first])
        for first in range(len(starts))
        for last in range(first, len(starts))
    )
    print(f"the rate is kept by all windows that are counted {1000 * excess:.1f} ms longer")
    assert excess <= LATE + MORE
    if is_full:
        for part in (starts[:60], starts[60:90], starts[90:]):
            print(f"reached: {(len(part) - 1) / (part[-1] - part[0]) / RATE:.3f} of the rate")


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
