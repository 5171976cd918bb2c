"""Facts of dead letters, beside the letters: written and removed with them, and put right where they were not."""

from __future__ import annotations

from collections.abc import Callable

from aiotask.broker import Broker
from aiotask.inspector import Inspector, JobFilter
from aiotask.job import Status

from ...seam import Worker, take
from ...server import PrivateServer

Key = Callable[[str], str]


async def give_up(worker: Worker, *names: str) -> None:
    for name in names:
        await worker.finish(await take(worker, name), status=Status.FAILED, dead=True)


async def test_they_go_with_their_letters(broker: Broker, worker: Worker, own_server: PrivateServer, key: Key) -> None:
    await give_up(worker, "a", "b", "c")
    assert set(own_server.call("HKEYS", key("dead:facts"))) == {b"a", b"b", b"c"}

    await broker.replay(["a"])
    await broker.discard(["b"])

    assert own_server.call("HKEYS", key("dead:facts")) == [b"c"]


async def test_letters_without_facts_are_read_whole_and_put_right(
    broker: Broker, worker: Worker, inspector: Inspector, own_server: PrivateServer, key: Key
) -> None:
    await give_up(worker, *(f"dead-{n}" for n in range(70)))
    before = await inspector.letters()
    own_server.call("HDEL", key("dead:facts"), *(f"dead-{n}" for n in range(60)))
    own_server.call("HSET", key("dead:facts"), "dead-65", b"no msgpack")

    assert await inspector.letters() == before
    page = await inspector.page(JobFilter(Status.FAILED, "default", "shop.tasks:render"), limit=100)
    assert [info.id for info in page.jobs] == [facts.id for facts in before]

    for _ in range(2):
        await broker.recover()
    assert own_server.call("HLEN", key("dead:facts")) == 70
    assert own_server.call("HGET", key("dead:facts"), "dead-1") == own_server.call("HGET", key("dead:facts"), "dead-69")


async def test_facts_of_letters_that_are_gone_are_removed(
    broker: Broker, worker: Worker, own_server: PrivateServer, key: Key
) -> None:
    await give_up(worker, "a", "b")
    own_server.call("ZREM", key("dead"), "a")
    own_server.call("HDEL", key("dead:jobs"), "a")

    await broker.recover()

    assert own_server.call("HKEYS", key("dead:facts")) == [b"b"]


async def test_another_value_in_their_place_loses_no_letter(
    broker: Broker, worker: Worker, inspector: Inspector, own_server: PrivateServer, key: Key
) -> None:
    own_server.call("SET", key("dead:facts"), "x")

    await give_up(worker, "a", "b")
    await broker.recover()

    assert [letter.id for letter in await inspector.dead()] == ["b", "a"]
    assert [facts.task for facts in await inspector.letters()] == ["shop.tasks:render"] * 2
    await broker.discard(["a"])
    assert [letter.id for letter in await inspector.dead()] == ["b"]


async def test_letters_are_found_by_task_without_being_read(
    worker: Worker, inspector: Inspector, own_server: PrivateServer
) -> None:
    await give_up(worker, *(f"dead-{n}" for n in range(100)))
    own_server.call("CONFIG", "RESETSTAT")

    page = await inspector.page(JobFilter(Status.FAILED, task="shop:none"))

    assert page.jobs == []
    stats = own_server.call("INFO", "commandstats")
    # Of each, the facts alone.
    assert stats["cmdstat_hget"]["calls"] == 100
