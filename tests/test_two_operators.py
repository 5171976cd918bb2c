"""Two operators who act at once: each job is acted on once, and what each of them is told adds up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiotask import Status
from aiotask.inspector import JobFilter
from aiotask.ops import letters
from aiotask.ops.actions import Actions
from aiotask.ops.audit import BEGUN, read_audit
from aiotask.ops.bulk import Action, Done
from aiotask.ops.connection import Place
from aiotask.ops.visitors import ACTS, Visitor

from .cli.shop import Shop, give_up
from .server import PrivateServer

JOBS = 1_500
TILES = JobFilter(queue="tiles")


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str) -> AsyncIterator[Shop]:
    made = Shop(own_server.url, app_name)
    async with made.app:
        for n in range(JOBS):
            made.render.apply_async(n)
        await made.app.flush()
        yield made


def place_of(shop: Shop) -> Place:
    return Place(shop.app.name, shop.app.url)


def operator(shop: Shop, name: str) -> Actions:
    return Actions(place_of(shop), Visitor(name, ACTS, "10.0.0.7"))


async def do(actions: Actions, action: Action, to: str = "") -> Done:
    done = Done()
    async with actions.matching(action, TILES, to) as found:
        await found.run(done, lambda seen: None)
    return done


async def number_of(shop: Shop, status: Status, queue: str) -> int:
    async with shop.app.inspector() as inspector:
        [info] = [each for each in await inspector.queues(max_age=0.0) if each.name == queue]
    return info.pending if status is Status.PENDING else info.ended.get(status, 0)


async def numbers_in_audit(shop: Shop) -> dict[tuple[str, str], int]:
    lines = [line for line in await read_audit(place_of(shop), 10) if line["ended"] != BEGUN]
    return {(line["who"], line["verb"]): line["number"] for line in lines}


async def test_both_cancel(shop: Shop) -> None:
    one, two = await asyncio.gather(*(do(operator(shop, name), Action.CANCEL) for name in ("ada", "bea")))

    assert one.done + two.done == JOBS == await number_of(shop, Status.CANCELLED, "tiles")
    assert await number_of(shop, Status.PENDING, "tiles") == 0
    assert await numbers_in_audit(shop) == {("ada", "cancel"): one.done, ("bea", "cancel"): two.done}


async def test_one_cancels_and_one_moves(shop: Shop) -> None:
    cancelled, moved = await asyncio.gather(
        do(operator(shop, "ada"), Action.CANCEL), do(operator(shop, "bea"), Action.MOVE, "slow")
    )

    left = await number_of(shop, Status.PENDING, "slow")
    ended = await number_of(shop, Status.CANCELLED, "tiles") + await number_of(shop, Status.CANCELLED, "slow")
    assert await number_of(shop, Status.PENDING, "tiles") == 0
    # A job that was moved may be cancelled where it came to, which both have done then.
    assert ended == cancelled.done and left + ended == JOBS and left <= moved.done <= JOBS
    assert await numbers_in_audit(shop) == {("ada", "cancel"): cancelled.done, ("bea", "move"): moved.done}


async def test_one_replays_dead_letters_and_one_deletes_them(shop: Shop) -> None:
    ids = set(await give_up(shop, 50))
    replayed, deleted = letters.Done(), letters.Done()

    async def act(name: str, verb: letters.Verb, done: letters.Done) -> None:
        async with operator(shop, name).letters(verb, letters.Filter()) as found:
            await found.run(done, lambda seen: None)

    await asyncio.gather(act("ada", "replay", replayed), act("bea", "delete", deleted))

    assert set(replayed.moved) | set(deleted.moved) == ids
    assert not set(replayed.moved) & set(deleted.moved)
    assert set(replayed.missing) | set(replayed.moved) <= ids
    assert await numbers_in_audit(shop) == {
        ("ada", "replay"): len(replayed.moved),
        ("bea", "discard"): len(deleted.moved),
    }
