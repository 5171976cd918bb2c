"""T9 and T10: keys of a limit take turns, and the jobs of a key keep their order, whatever becomes of workers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import aiotask
from aiotask import Status

from ..helpers import wait_until, wait_until_async
from .killer import Killer
from .ledger import Entry, most_at_once
from .stage import Stage

TIMEOUT = 120
#: Seconds for a run in full size.
LONG = 900


async def send_many(stage: Stage, tenant: str, count: int) -> None:
    """Send jobs of one tenant that nobody awaits."""
    task = stage.fair.options(ignore_result=True)
    for start in range(0, count, 20_000):
        for n in range(start, min(count, start + 20_000)):
            task.apply_async(tenant, n)
        await stage.app.flush()


async def test_t9_ten_jobs_beside_very_many_of_another_tenant(stage: Callable[[str], Stage], is_full: bool) -> None:
    limited = stage("limited")
    await send_many(limited, "many", 1_000_000 if is_full else 5_000)
    ten = [limited.fair.apply_async("ten", n) for n in range(10)]
    await limited.app.flush()
    limited.start(1, "--max-in-flight", "10")
    await asyncio.wait_for(aiotask.gather(ten), TIMEOUT)

    labels = [run.label for run in limited.ledger.runs()]
    last = max(place for place, label in enumerate(labels) if label == "ten")
    # Eleven turns of two tenants; the jobs of a claim, which are ten at most, may start in another order.
    assert last < 2 * 11 + 10


async def test_t9_turns_come_round_over_hundreds_of_tenants(stage: Callable[[str], Stage], is_full: bool) -> None:
    limited, others = stage("limited"), 100 if is_full else 20
    await send_many(limited, "many", 100_000 if is_full else 2_000)
    for n in range(others):
        await send_many(limited, f"other {n}", 20)
    ten = [limited.fair.apply_async("ten", n) for n in range(10)]
    await limited.app.flush()
    limited.start(1, "--max-in-flight", "10")
    await asyncio.wait_for(aiotask.gather(ten), TIMEOUT)

    places = [place for place, run in enumerate(limited.ledger.runs(), start=1) if run.label == "ten"]
    print(f"of {others + 2} tenants that take turns, the ten of one started as numbers {places}")
    for turn, place in enumerate(places, start=1):
        assert abs(place - turn * (others + 2)) <= 10


async def test_t10_the_jobs_of_a_key_start_in_order_over_deaths_and_drains(
    stage: Callable[[str], Stage], is_full: bool
) -> None:
    limited, each = stage("limited"), 100 if is_full else 15
    hosts = [limited.start(2) for _ in range(2)]
    killer = Killer(limited)

    total = 100 * each
    results = [limited.in_order.apply_async(f"key {key}", n) for n in range(each) for key in range(100)]
    waiting = asyncio.ensure_future(asyncio.wait_for(aiotask.gather(results), LONG))
    # Kills, and between them drains, each followed by a new host.
    for number, share in enumerate(SHARES if is_full else (0.07, 0.33)):
        await wait_until_async(
            lambda n=share * total: limited.ledger.ended() >= n,  # type: ignore[misc]
            description=f"{share:.0%} have run",
            timeout=LONG,
        )
        if number % 4 == 1:
            assert await asyncio.to_thread(hosts.pop(0).stop) == 0
            hosts.append(await asyncio.to_thread(limited.start, 2))
        else:
            killer.kill_one()
    await waiting

    print(f"{killer.kills} kills")
    by_key: dict[str, list[Entry]] = defaultdict(list)
    for run in killer.runs():
        by_key[run.label[0]].append(run)
    for key, runs in by_key.items():
        assert most_at_once(runs) == 1, key
        # A job that runs again does so before the next one, or, after a retry, as soon as it is due.
        firsts = list(dict.fromkeys(run.label[1] for run in runs))
        assert firsts == list(range(each)), key
        in_order_but_for_retries(runs)


#: Parts of all jobs after which something happens in full size.
SHARES = [n / 20 for n in range(1, 18)]


def in_order_but_for_retries(runs: list[Entry]) -> None:
    """No job starts while an earlier one of its key has not ended and is not between a failure and its retry."""
    ends = {n: max(run.end or 0.0 for run in runs if run.label[1] == n) for n in {run.label[1] for run in runs}}
    for run in runs:
        n = run.label[1]
        for earlier in (n - 1, n - 2):
            if earlier >= 0 and earlier % 17 != 3:
                assert ends[earlier] <= run.start, (run, earlier)


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
