"""What people are shown of the keys of a limit."""

from __future__ import annotations

from typing import cast

from aiotask.brokers.limits import Limits, LimitsReader
from aiotask.inspector import Inspector

from ...seam import Worker, send
from .words import Declare, end, limited


async def keys(inspector: Inspector, most: int = 100) -> dict[str, tuple[int, int, str]]:
    """By key: how many jobs wait, how many are admitted, and which one waits longest."""
    found = await cast(LimitsReader, inspector).limit_keys("api", most)
    return {each.key: (each.waiting, each.running, each.oldest[1] if each.oldest else "") for each in found}


async def test_keys_that_are_full_and_keys_that_have_their_turn_are_counted(
    limits: Limits, worker: Worker, inspector: Inspector, declare: Declare
) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(3) for key in "ab"))
    claim = await worker.claim()
    await send(limits, limited("c-0", "c"), limited("c-1", "c", queue="other"), limited("d-0", "d", name="mail"))

    assert await keys(inspector) == {"a": (2, 1, "a-1"), "b": (2, 1, "b-1"), "c": (2, 0, "c-0")}

    await end(worker, *claim.deliveries)
    assert {key: running for key, (_, running, _) in (await keys(inspector)).items()} == {"a": 0, "b": 0, "c": 0}


async def test_keys_that_their_rate_holds_are_counted(
    limits: Limits, worker: Worker, inspector: Inspector, declare: Declare
) -> None:
    await declare(rate_each=1 / 3600, burst_each=1)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(2) for key in "ab"))
    assert len((await worker.claim()).deliveries) == 2

    assert {key: waiting for key, (waiting, _, _) in (await keys(inspector)).items()} == {"a": 1, "b": 1}


async def test_they_are_found_behind_many_other_jobs(limits: Limits, inspector: Inspector, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, *(f"plain-{n}" for n in range(2_000)), limited("a-0", "a"), limited("b-0", "b"))

    assert await keys(inspector) == {"a": (1, 0, "a-0"), "b": (1, 0, "b-0")}
    assert len(await keys(inspector, 1)) == 1


async def test_the_one_that_waits_longest_has_the_lowest_number(
    limits: Limits, inspector: Inspector, declare: Declare
) -> None:
    await declare(max_running=1)
    for id, key in (("first", "b"), ("second", "a"), ("third", "b")):
        await send(limits, limited(id, key))

    found = await cast(LimitsReader, inspector).limit_keys("api", 10)
    assert min(each.oldest for each in found if each.oldest)[1] == "first"
