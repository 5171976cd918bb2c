"""Lines of the audit that must not be lost: of actions whose process is killed, and those that no server keeps."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from aiotask import Limit
from aiotask.brokers import connect
from aiotask.inspector import JobFilter
from aiotask.ops import letters
from aiotask.ops.audit import AuditLine, note
from aiotask.ops.bulk import Action, Done
from aiotask.ops.connection import inspectors
from aiotask.ops.visitors import ACTS, Verb

from .acted import World, render_tile
from .server import PrivateServer

#: Purges a queue, and is killed in the midst of it.
_KILLED = """
import asyncio, os, signal, sys
from aiotask.inspector import JobFilter
from aiotask.ops.actions import Actions
from aiotask.ops.bulk import Action, Done
from aiotask.ops.connection import Place
from aiotask.ops.visitors import operator

async def main():
    actions = Actions(Place(sys.argv[2], sys.argv[1]), operator())
    async with actions.matching(Action.PURGE, JobFilter(queue="tiles")) as found:
        await found.run(Done(), lambda seen: os.kill(os.getpid(), signal.SIGKILL))

asyncio.run(main())
"""


async def test_numbers_and_times_are_in_lines_as_people_write_them(world: World) -> None:
    limited = world.app.register_task(render_tile, name="shop:limited", limit=Limit("stripe", max_running=3))
    async with world.app.worker():
        await limited.apply_async(1)
    await world.by(Verb.SET_LIMIT).set_limit("stripe", {"rate": 1 / 3600, "max_running": 2})
    async with world.by(Verb.DISCARD).letters("delete", letters.Filter(since=1795990809.0)) as found:
        await found.run(letters.Done(), lambda _: None)

    discarded, _, limited = await world.lines()
    assert limited["said"] == "rate=1/h, max_running=2"
    assert discarded["subject"] == "dead letters since 2026-11-29 22:20:09 UTC"


@pytest.fixture
async def apart(own_server: PrivateServer, app_name: str) -> AsyncIterator[World]:
    """An app on a server that other processes reach."""
    broker = connect(own_server.url, app_name)
    made = World(own_server.url, app_name, broker)
    async with made.app, made.stack:
        yield made
    await broker.close()


async def test_a_bulk_action_whose_process_was_killed_has_a_line(apart: World) -> None:
    await apart.send()

    place = (apart.place.url or "", apart.app.name)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, *place)

    assert await killed.wait() == -signal.SIGKILL
    [line] = await apart.lines()
    assert (line["verb"], line["subject"], line["ended"]) == ("purge", "jobs in queue tiles", "begun")


async def test_both_lines_of_a_bulk_action_name_it(world: World) -> None:
    for _ in range(2):
        await world.send()
        async with world.by(*ACTS).matching(Action.CANCEL, JobFilter(task="shop:render")) as found:
            await found.run(Done(), lambda _: None)

    second, second_begun, first, first_begun = await world.lines()
    assert [second["ended"], second_begun["ended"]] == ["done", "begun"]
    assert second["action"] == second_begun["action"] != first["action"] == first_begun["action"] != ""


async def test_many_ids_and_dead_letters_are_bulk_actions_too(world: World) -> None:
    await world.dead()
    async with world.by(*ACTS).letters("delete", letters.Filter()) as found:
        await found.run(letters.Done(), lambda _: None)
    await world.by(*ACTS).cancel([await world.send() for _ in range(6)])
    await world.by(*ACTS).cancel([await world.send() for _ in range(2)])

    assert [line["ended"] for line in await world.lines()] == ["done", "done", "begun", "done", "begun"]


async def test_a_line_that_the_server_cannot_keep_is_seen_in_the_log(
    apart: World, own_server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiotask.audit")
    line = AuditLine("ada", "cli", "purge", "jobs in queue tiles", 7)
    async with inspectors(apart.place) as opened:
        await note(opened, line)
        own_server.call("CONFIG", "SET", "maxmemory", 1)
        await note(opened, line)

    kept, alone = caplog.records
    assert kept.levelno == logging.INFO and "log alone" not in kept.getMessage()
    assert alone.levelno == logging.WARNING
    assert alone.getMessage().startswith("purge jobs in queue tiles done: 7 by ada from cli (in this log alone, since")
