"""T23: a job that uses none of the features costs the server what it did, also where other jobs use all of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import Status

from ..helpers import wait_until_async
from ..server import PrivateServer
from ..workers import running_workers
from .stage import Stage, staged

TIMEOUT = 120
JOBS = 2_000
#: Keys that show that features are in use.
FEATURES = {"admitted", "lined", "due", "unique", "expiring", "s", "checkpoints", "paused", "wake", "fires", "nodes"}


@pytest.fixture
def crowded(own_server: PrivateServer, tmp_path: Path) -> Iterator[Stage]:
    with (
        running_workers(tmp_path / "workers", own_server.url) as workers,
        staged("crowded", workers, tmp_path / "ledger") as stage,
    ):
        stage.start(1, "--grace", "0.2")
        yield stage


def calls(server: PrivateServer) -> tuple[int, int]:
    """How many scripts and how many other commands the server has run."""
    found = {
        name.removeprefix("cmdstat_"): stats["calls"] for name, stats in server.call("INFO", "commandstats").items()
    }
    scripts = sum(found.pop(name, 0) for name in ("evalsha", "eval", "fcall"))
    return scripts, sum(found.values())


def kinds_of_keys(server: PrivateServer, name: str) -> set[str]:
    """The kinds of keys that an app has on the server: names without what tells one job from another."""
    keys = [key.decode() for key in server.call("KEYS", f"aiotask1:{{{name}}}:*")]
    return {re.sub(r"^(r|index|seen|sent|s|read):.*", r"\1", key.split("}:", 1)[1]) for key in keys}


async def cost(stage: Stage, server: PrivateServer) -> tuple[float, float]:
    """Scripts and other commands for a plain job, from its send to its outcome.

    Nobody awaits the jobs: a caller that has waited for some time asks after them.
    """

    def ended() -> int:
        nonlocal looks
        looks += 1
        return int(server.call("HGET", f"aiotask1:{{{stage.app.name}}}:counts", "default|SUCCESS") or 0)

    looks, before = 0, calls(server)
    first = ended()
    for n in range(JOBS):
        stage.plain.apply_async(n)
    await wait_until_async(lambda: ended() >= first + JOBS, description="all of them have ended", timeout=TIMEOUT)
    after = calls(server)
    return (after[0] - before[0]) / JOBS, (after[1] - before[1] - looks) / JOBS


async def least(stage: Stage, server: PrivateServer) -> tuple[float, float]:
    """The least of three: what is done by the clock belongs to no job, and is more in a run that took longer."""
    costs = [await cost(stage, server) for _ in range(3)]
    return min(scripts for scripts, _ in costs), min(others for _, others in costs)


async def use_everything(stage: Stage) -> list[object]:
    """Leave jobs of all features unfinished: running, in lines, held by rates, to come, gathered, and half read."""
    stream = stage.numbers.apply_async()
    items = stream.items()
    assert await anext(items) == (1, 1)
    held = [stage.holder.apply_async(1)]

    async def holds() -> bool:
        return await held[0].status() is Status.RUNNING

    await wait_until_async(holds, description="a slot is taken", timeout=TIMEOUT)
    results = [
        *[stage.in_line.apply_async(n) for n in range(50)],
        *[stage.rated.apply_async(n % 5) for n in range(50)],
        *[stage.debounced.options(delay=3600).apply_async(n % 5) for n in range(50)],
        *[stage.gathered.apply_async(n) for n in range(50)],
        *[stage.plain.options(expires=3600, delay=1800).apply_async(n) for n in range(50)],
        stage.after.s(stage.holder.options(key=None).s(2).cast).apply_async(),
    ]
    await stage.app.schedules.set("later", stage.plain.s(0), every=3600)
    await stage.app.pause(queue="another", why="it is broken")
    await asyncio.gather(*(result.sent() for result in results))
    return [stream, items, *held, *results]


async def test_t23_a_plain_job_costs_the_same_beside_jobs_that_use_everything(
    crowded: Stage, own_server: PrivateServer
) -> None:
    await cost(crowded, own_server)
    alone, keys_alone = await least(crowded, own_server), kinds_of_keys(own_server, crowded.app.name)
    kept = await use_everything(crowded)
    await wait_until_async(
        lambda: kinds_of_keys(own_server, crowded.app.name) >= FEATURES,
        description="all features are in use",
        timeout=TIMEOUT,
    )
    keys_before = kinds_of_keys(own_server, crowded.app.name)

    beside = await least(crowded, own_server)

    print(f"scripts and commands for a plain job: alone {alone}, beside all others {beside}")
    # One EXISTS for a claim, of which there are far fewer than jobs.
    assert beside[0] <= alone[0] + 0.02
    assert beside[1] <= alone[1] + 0.1
    assert kinds_of_keys(own_server, crowded.app.name) <= keys_before | keys_alone
    assert kept
