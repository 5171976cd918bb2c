"""Lists of jobs, where another program has written names that are no UTF-8 or that aiotask would refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product

import pytest

from aiotask.broker import Broker
from aiotask.brokers import inspect

from ...seam import a_push, send
from ...server import PrivateServer

#: As text, all of them are the same, and come before themselves.
NAMES = [bytes(name) for name in product(range(0xF8, 0x100), repeat=3)][:400]
#: A bar stands between lane and entry in the place behind a job.
BARRED = [b"x|%d" % n for n in range(400)]
#: Seconds for a list of one job.
LIMIT = 60.0


async def listed(broker: Broker, *, newest: bool = False) -> list[str]:
    """The ids on all pages."""
    found, after = list[str](), ""
    while True:
        page = await inspect(broker).page(after=after, newest=newest)
        found += [job.id for job in page.jobs]
        if not (after := page.after):
            return found


@pytest.mark.parametrize("names", [NAMES, BARRED], ids=["no text", "barred"])
@pytest.mark.parametrize("is_newest", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize("written", ["queues", "parked", "due", "graphs"])
async def test_a_list_with_many_of_them_ends(
    written: str,
    is_newest: bool,
    names: list[bytes],
    own_server: PrivateServer,
    broker: Broker,
    key: Callable[[str], str],
) -> None:
    await send(broker, "readable")
    if written in ("queues", "parked"):
        own_server.call("SADD", key(written), *names)
    else:
        score = 2e9 if written == "due" else "inf"
        own_server.call("ZADD", key(written), *(part for name in names for part in (score, name)))

    assert await asyncio.wait_for(listed(broker, newest=is_newest), LIMIT) == ["readable"]


async def test_what_is_due_at_one_moment_is_listed_behind_them(
    own_server: PrivateServer, broker: Broker, key: Callable[[str], str]
) -> None:
    await send(broker, a_push("\U00010400-last", delay=1e9))
    _, due = own_server.call("ZRANGE", key("due"), 0, -1, "WITHSCORES")
    own_server.call("ZADD", key("due"), *(part for name in NAMES for part in (due, name)))

    assert await asyncio.wait_for(listed(broker), LIMIT) == ["\U00010400-last"]
