"""What a later release keeps on the same server: this one leaves it where it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import pytest

from aiotask.broker import Broker, Cancelled, Push
from aiotask.brokers.redis.keys import CONSTANTS
from aiotask.job import Attempt, Meta, Obituary, Status

from ...helpers import wait_until_async
from ...seam import Worker, a_push, ids, sealed_job, send, without_trail
from ...server import PrivateServer
from ...test_house import key_table

_LINE = "w:default:5:thumbnails"


# ---- the counters of a job


@pytest.mark.parametrize(
    "tail",
    [
        [],
        [7],
        [b"\xff\x00" * 300, "text" * 20, None, True, 2.5, -70_000, 2**40],
        [{"trail": [1, [2, {"x": b"y"}]]}, msgspec.msgpack.Ext(5, b"12345"), "x" * 70_000],
        list(range(30)),
    ],
    ids=["none", "one", "scalars", "nested", "many"],
)
async def test_a_death_keeps_the_counters_that_a_later_release_appends(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str], tail: list[Any]
) -> None:
    meta = msgspec.msgpack.encode([3, 1, "before", None, 1_700_000_000_000, True, [], *tail])
    await send(broker, "other")
    entry = own_server.call("XADD", key("q:default:1"), "*", "j", sealed_job("a"), "m", meta)
    own_server.call("HSET", key("index:"), "a", b"q:default:1|" + entry)
    assert ids(await worker.claim(1)) == ["a"]

    obituary = Obituary(signal=9, stack="frames")
    assert (await broker.recover(worker.name, blame=["a"], reason="killed", obituary=obituary)).moved == 1

    [(_, fields)] = own_server.call("XRANGE", key("q:default:s"), "-", "+")
    struck = fields[b"m"] if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))[b"m"]
    fields = msgspec.msgpack.decode(struck, type=list[msgspec.Raw])
    trail = msgspec.msgpack.decode(fields.pop(6), type=list[Attempt])
    known = [3, 2, "killed", [9, 0, 0, "frames", ""], 1_700_000_000_000, True]
    assert msgspec.msgpack.encode(fields) == msgspec.msgpack.encode([*known, *tail])
    assert [(run.worker, run.how, run.error) for run in trail] == [(worker.name, "died", "killed")]


@pytest.mark.parametrize(
    "meta",
    [
        b"\x95",
        b"no",
        b"\x95\x01\x00\xa0\xc0" + b"\x91" * 20_000,
        b"\x95\x01\x00\xa0\xc0\x00\x00",
        b"\x80",
        b"\xdc\xff\xff",
    ],
    ids=["cut", "text", "deep", "longer", "map", "count"],
)
async def test_counters_that_are_none_begin_anew(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str], meta: bytes
) -> None:
    await send(broker, "other")
    entry = own_server.call("XADD", key("q:default:1"), "*", "j", sealed_job("a"), "m", meta)
    own_server.call("HSET", key("index:"), "a", b"q:default:1|" + entry)
    await worker.claim(1)

    await broker.recover(worker.name, blame=["a"], reason="killed")

    next_worker = await Worker(broker, "next.1").enlist()
    [suspect] = (await next_worker.claim(alone=True)).deliveries
    assert (suspect.id, without_trail(suspect)) == ("a", Meta(1, 1, "killed"))


# ---- lanes, places and kinds


def held(lane: str, id: str) -> bytes:
    return struct.pack(">H", len(lane)) + lane.encode() + struct.pack(">H", 0) + sealed_job(id)


class Foreign:
    """Jobs of a later release, written by hand."""

    #: Ids, and where the index has them.
    PLACES: ClassVar = {
        "claimed": "q:default:v|1-1",
        "waiting": "q:default:v|2-1",
        "in-line": f"{_LINE}|1-1",
        "filed": "filed|17",
        "delayed": "due|S",
        "of-a-kind": "due|X",
        "nowhere": "q:default:z|1-1",
    }

    def __init__(self, server: PrivateServer, key: Callable[[str], str]) -> None:
        self.call, self.key = server.call, key
        for id in ("claimed", "waiting"):
            self.call("XADD", key("q:default:v"), self.PLACES[id].partition("|")[2], "j", sealed_job(id))
        self.call("XGROUP", "CREATE", key("q:default:v"), "w", "0")
        self.call("XREADGROUP", "GROUP", "w", "gone.1", "COUNT", 1, "STREAMS", key("q:default:v"), ">")
        self.call("ZADD", key(_LINE), 17, "filed")
        for id, place in self.PLACES.items():
            self.call("HSET", key("index:"), id, place)
        self.call("SADD", key("index"), "")
        for id, lane in (("filed", _LINE), ("delayed", _LINE), ("of-a-kind", "q:default:5")):
            self.call("HSET", key("held"), id, held(lane, id))
        self.call("ZADD", key("due"), 1, "delayed", 2, "of-a-kind")

    def look(self) -> dict[str, Any]:
        call, key = self.call, self.key
        return {
            "index": [call("HGET", key("index:"), id) for id in self.PLACES],
            "held": [call("HGET", key("held"), id) for id in ("filed", "delayed", "of-a-kind")],
            "due": [call("ZSCORE", key("due"), id) for id in ("delayed", "of-a-kind")],
            "line": call("ZRANGE", key(_LINE), 0, -1),
            "lane": call("XRANGE", key("q:default:v"), "-", "+"),
            "claims": call("XPENDING", key("q:default:v"), "w"),
        }


async def test_jobs_of_a_later_release_stay_where_they_are(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    await send(broker, "a", "b")
    foreign = Foreign(own_server, key)
    before = foreign.look()
    assert before["index"] == [place.encode() for place in foreign.PLACES.values()]

    # A push under the id of one of them is the same job.
    await send(broker, *(Push(id, "default", 5, sealed_job(id), custom=True) for id in foreign.PLACES))
    assert foreign.look() == before
    assert ids(await worker.claim(1)) == ["a"]
    assert (await broker.recover(worker.name, blame=["a"], reason="killed")).moved == 1
    assert foreign.look() == before
    for id in foreign.PLACES:
        assert await broker.cancel(id, b"gone", 60.0) is Cancelled.UNKNOWN
    assert foreign.look() == before
    states = {
        id: state.status for id, state in zip(foreign.PLACES, await broker.status(list(foreign.PLACES)), strict=True)
    }
    assert all(status in (Status.PENDING, Status.SCHEDULED) for status in states.values()), states
    for _ in range(5):
        # The audit comes with the recovery.
        assert (await broker.recover()).moved == 0
    assert foreign.look() == before
    assert ids(await other.claim(alone=True)) == ["a"]
    assert ids(await other.claim()) == ["b"]


@pytest.mark.parametrize("place", [b"d|V\x8d+/", b"d|", b"lined|\xff", b"lined|17\n"])
async def test_bytes_that_are_no_place_of_any_release_are_forgotten(
    own_server: PrivateServer, broker: Broker, key: Callable[[str], str], place: bytes
) -> None:
    await send(broker, "a")
    own_server.call("SADD", key("index"), "")
    own_server.call("HSET", key("index:"), "ghost", place)
    own_server.call("ZADD", key("due"), 0, "ghost")

    assert (await broker.promote(10)) == (1, None)

    assert own_server.call("HGET", key("index:"), "ghost") is None
    assert own_server.call("ZSCORE", key("due"), "ghost") is None


@pytest.mark.trap("stranger in a line")
async def test_a_key_that_begins_as_a_line_does_is_none(
    own_server: PrivateServer, broker: Broker, key: Callable[[str], str], worker: Worker
) -> None:
    # ``live`` is a hash: who takes it for a line fails there.
    own_server.call("SADD", key("index"), "")
    own_server.call("HSET", key("index:"), "ghost", b"live|17")

    assert await broker.cancel("ghost", b"gone", 60.0) is Cancelled.UNKNOWN
    await send(broker, a_push("ghost", custom=True))
    assert ids(await worker.claim()) == ["ghost"]


async def test_jobs_fall_due_behind_those_of_a_later_release(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    foreign = Foreign(own_server, key)
    before = foreign.look()
    assert await broker.promote(1) == (0, None)
    await send(broker, a_push("soon", delay=0.01), a_push("later", delay=3600.0))

    async def one_was_promoted() -> bool:
        moved, until = await broker.promote(1)
        assert until is not None
        return moved == 1

    await wait_until_async(one_was_promoted, description="a job of ours is due")
    moved, until = await broker.promote(1)
    assert moved == 0
    assert until is not None and 3000 < until <= 3600, "the next one is ours"
    assert ids(await worker.claim()) == ["soon"]
    assert foreign.look() == before


def test_the_words_that_begin_a_key_are_those_of_the_table() -> None:
    words = {name.split(":")[0] for name in key_table()}

    assert set(str(CONSTANTS["KEY_WORDS"]).split()) == words
