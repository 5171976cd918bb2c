"""Rates: the rule as a table, in Python and in the scripts, and what a worker sees of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiotask.brokers.limits import Limits
from aiotask.brokers.redis.script import Script, load_scripts
from aiotask.job import Meta
from aiotask.values.limit import Granted, burst_of, gcra

from ...helpers import wait_until_async
from ...seam import Worker, ids, send
from ...server import PrivateServer
from .words import Declare, end, limited

NOW = 1_800_000_000_000_000.0

#: tat, interval, burst, how many jobs want to start; and what the rule says. Times are in microseconds from NOW.
TABLE = [
    pytest.param(-NOW, 100, 1, 5, (1, 100, 0), id="nothing has started yet"),
    pytest.param(-500, 100, 3, 5, (3, 300, 0), id="a burst after a time without any"),
    pytest.param(-500, 100, 3, 2, (2, 200, 0), id="fewer want to start"),
    pytest.param(100, 100, 1, 1, (0, 100, 100), id="too early"),
    pytest.param(100, 100, 2, 5, (1, 200, 0), id="a part of the burst is left"),
    pytest.param(200, 100, 2, 5, (0, 200, 100), id="the burst is used up"),
    pytest.param(0, 100, 1, 1, (1, 100, 0), id="just in time"),
    pytest.param(10**9, 100, 2, 1, (0, 200, 100), id="the clock was set back"),
    pytest.param(50, 100, 5, 9, (4, 450, 0), id="between two starts"),
]


@pytest.mark.parametrize(("tat", "interval", "burst", "wanted", "granted"), TABLE)
def test_the_rule_of_a_rate(tat: float, interval: float, burst: int, wanted: int, granted: tuple[float, ...]) -> None:
    starts, new_tat, until = granted

    found = gcra(NOW + tat, NOW, interval, burst, wanted)
    assert found == Granted(int(starts), NOW + new_tat, NOW + until if until else 0.0)


@pytest.mark.parametrize(("tat", "interval", "burst", "wanted", "granted"), TABLE)
def test_the_scripts_have_the_same_rule(
    own_server: PrivateServer, tat: float, interval: float, burst: int, wanted: int, granted: tuple[float, ...]
) -> None:
    parts = "\n".join(load_scripts()[f"lib/{part}"].decode() for part in ("core", "index", "meta", "limits"))
    constants = Script("admit").source.decode().split("local function", 1)[0]
    code = "local starts, tat, till = lines().gcra(unpack(cjson.decode(ARGV[1])))"
    code += "\nreturn { tostring(starts), string.format('%.17g', tat), string.format('%.17g', till) }"
    arguments = f"[{NOW + tat!r}, {NOW!r}, {interval}, {burst}]"

    reply: list[Any] = own_server.call("EVAL", f"{constants}{parts}\n{code}", 1, "p:", arguments)
    allowed, kept, until = map(float, reply)

    starts = min(wanted, allowed)
    assert (starts, kept + interval * starts, until) == (
        granted[0],
        NOW + granted[1],
        NOW + granted[2] if granted[2] else 0.0,
    )


def test_rounding_refuses_no_job_that_may_start() -> None:
    # Microseconds since the machine was started, 17 minutes ago: with the interval added they need another bit.
    moments = [1_050_000_000.0 + n * 0.137 for n in range(1_000)]

    assert {gcra(0.0, now, 1e8, 1, 1).starts for now in moments} == {1}


def test_a_burst_is_what_comes_in_50_ms_and_one_at_least() -> None:
    assert [burst_of(rate) for rate in (0.1, 20, 40, 200)] == [1, 1, 2, 10]
    assert burst_of(200, 3) == 3


async def test_no_more_start_than_the_rate_allows(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(rate=0.01, burst=2)
    await send(limits, *(limited(f"job-{n}") for n in range(5)))

    assert ids(await worker.claim()) == ["job-0", "job-1"]
    assert ids(await worker.claim()) == []


@pytest.mark.trap("token of a refusal")
async def test_a_rate_of_the_whole_refuses_without_taking_the_token_of_a_key(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(rate=0.01, burst=1, rate_each=0.01, burst_each=1)
    await send(limits, limited("a-0", "a"), limited("b-0", "b"))
    [first] = (await worker.claim()).deliveries
    await worker.requeue(first)  # gives both of its tokens back

    await limits.set_limit("api", {"burst": 2})
    assert sorted(ids(await worker.claim())) == ["a-0", "b-0"], "neither key has lost a token"


async def test_each_key_has_a_rate_of_its_own(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(rate_each=0.01, burst_each=1)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(2) for key in "ab"))

    assert sorted(ids(await worker.claim())) == ["a-0", "b-0"]
    assert ids(await worker.claim()) == []


async def test_what_is_given_back_unstarted_gives_its_token_back(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(rate=0.01, burst=1)
    await send(limits, limited("job"))
    [job] = (await worker.claim()).deliveries

    await worker.requeue(job)
    [job] = (await worker.claim()).deliveries
    await worker.requeue(job, meta=Meta(attempt=2))  # a retry at once: this one has run
    assert ids(await worker.claim()) == []


@pytest.mark.trap("short block")
async def test_a_worker_that_waits_is_woken_when_the_rate_admits_the_next(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(rate=20, burst=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))

    assert ids(await worker.claim()) == ["job-0"]
    for job in ("job-1", "job-2"):
        # A read that blocks ends after 30 s by itself, and no keeper runs here.
        async with asyncio.timeout(20):
            assert (await worker.wait_for_job()).id == job


async def test_a_keeper_wakes_what_a_rate_held(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(rate=50, burst=1)
    await send(limits, limited("job-0"), limited("job-1"))
    await worker.claim()
    await worker.claim()

    _, until = await limits.promote()
    assert until is None or until <= 0.02

    async def is_admitted() -> bool:
        await limits.promote()
        return ids(await worker.claim()) == ["job-1"]

    await wait_until_async(is_admitted, description="the rate admits the next job")


@pytest.mark.parametrize("level", ["rate", "rate_each"])
async def test_a_faster_rate_holds_at_once_and_not_when_the_slower_one_had_allowed_the_next(
    limits: Limits, worker: Worker, declare: Declare, level: str
) -> None:
    await declare(**{level: 0.001})
    await send(limits, limited("job-0", "a"), limited("job-1", "a"))
    assert ids(await worker.claim()) == ["job-0"]
    assert ids(await worker.claim()) == []

    await limits.set_limit("api", {level: 20.0})

    async def is_admitted() -> bool:
        await limits.promote()
        return ids(await worker.claim()) == ["job-1"]

    await wait_until_async(is_admitted, description="the new rate admits the next job")


async def test_a_limit_that_is_held_admits_nothing_of_that_key(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare()
    await limits.hold_limit("api:slow", 3600.0)
    await send(limits, limited("held", "slow"), limited("other", "fast"))

    assert ids(await worker.claim()) == ["other"]
    assert ids(await worker.claim()) == []


async def test_a_hold_ends(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare()
    await limits.hold_limit("api:", 0.03)
    await send(limits, limited("held"))
    await worker.claim()

    assert (await worker.wait_for_job()).id == "held"


async def test_jobs_that_end_leave_their_tokens_spent(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(rate=0.01, burst=1)
    await send(limits, limited("job-0"), limited("job-1"))
    await end(worker, *(await worker.claim()).deliveries)

    assert ids(await worker.claim()) == []
