"""Keys of limits that were deleted by hand: the next scans put right what can be known, and no job is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from aiotask.broker import Broker
from aiotask.brokers import inspect
from aiotask.brokers.limits import Limits, LimitsReader
from aiotask.values.limit import LimitSpec

from ...helpers import wait_until_async
from ...seam import Worker, ids, send
from ...server import PrivateServer
from ..limits.words import end, limited

Key = Callable[[str], str]


@pytest.fixture
async def lined(own_server: PrivateServer, broker: Broker, worker: Worker) -> Worker:
    """A worker that has one job of each of two keys, in whose lines two more wait."""
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", max_running=4, max_running_each=1)])
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(3) for key in "ab"))
    return worker


async def waiting(worker: Worker) -> int:
    [info] = await cast(LimitsReader, inspect(worker.broker)).limits()
    return info.waiting


async def drained(worker: Worker) -> list[str]:
    """What the worker runs, one job of each key at a time, with a scan of the keeper in between."""
    ran: list[str] = []
    for _ in range(30):
        claim = await worker.claim()
        ran += ids(claim)
        await end(worker, *claim.deliveries)
        await worker.broker.recover()
    return ran


@pytest.mark.parametrize(
    "lost",
    [
        "open",
        "open:default:5",
        "ring:default:5:api",
        "l:default:5:api:a",
        "slots:api",
        "slots:api:a",
        "admitted",
        "places:api",
        "limits",
        "lined:default",
        "q:default:b",
    ],
)
async def test_no_job_is_lost_with_a_key(own_server: PrivateServer, lined: Worker, key: Key, lost: str) -> None:
    held = (await lined.claim()).deliveries
    assert ids(held) == ["a-0", "b-0"]

    own_server.call("DEL", key(lost))
    await lined.broker.recover()
    await end(lined, *held)

    assert sorted(await drained(lined)) == ["a-1", "a-2", "b-1", "b-2"]
    assert left_behind(own_server, key) == {}


async def test_slots_are_counted_anew_from_what_is_admitted(own_server: PrivateServer, lined: Worker, key: Key) -> None:
    await lined.claim()

    own_server.call("DEL", key("slots:api"), key("slots:api:a"), key("slots:api:b"))
    await lined.broker.recover()

    assert own_server.call("SMEMBERS", key("slots:api:a")) in ([b"a-0"], {b"a-0"})
    assert ids(await lined.claim()) == []


async def test_what_is_admitted_is_recorded_again_and_the_log_says_so(
    own_server: PrivateServer, lined: Worker, key: Key, caplog: pytest.LogCaptureFixture
) -> None:
    held = (await lined.claim()).deliveries

    own_server.call("DEL", key("admitted"))
    await lined.broker.recover()

    assert own_server.call("HGETALL", key("admitted")) == {
        b"a-0": b"l:default:5:api:a|0",
        b"b-0": b"l:default:5:api:b|0",
    }
    assert ids(await lined.claim()) == []
    assert "2 of the jobs that their limits have admitted had no record" in caplog.text
    caplog.clear()
    await end(lined, held[0])
    await lined.broker.recover()
    assert caplog.text == ""
    # What goes back comes first again.
    await lined.requeue(held[1])
    assert ids(await lined.claim()) == ["a-1", "b-0"]


async def test_slots_of_jobs_that_ended_without_a_record_are_free(
    own_server: PrivateServer, lined: Worker, key: Key
) -> None:
    first, other = (await lined.claim()).deliveries

    own_server.call("DEL", key("admitted"))
    await end(lined, first)
    assert ids(await lined.claim()) == []
    await lined.broker.recover()

    assert own_server.call("EXISTS", key("slots:api:a")) == 0
    assert ids(await lined.claim()) == ["a-1"]
    await end(lined, other)
    await drained(lined)


async def test_jobs_whose_envelopes_were_deleted_are_forgotten(
    own_server: PrivateServer, lined: Worker, key: Key
) -> None:
    own_server.call("DEL", key("lined"))
    await lined.broker.recover()

    assert await drained(lined) == []
    assert await waiting(lined) == 0
    assert left_behind(own_server, key) == {}


@pytest.mark.parametrize(("number", "shown"), [("", 0), ("many", 0), ("-7", 0), ("70", 70)])
async def test_a_count_of_what_waits_that_was_spoiled_is_right_once_nothing_waits(
    own_server: PrivateServer, lined: Worker, key: Key, number: str, shown: int
) -> None:
    assert await waiting(lined) == 6
    own_server.call("HSET", key("limit:api"), "lined", number)
    assert await waiting(lined) == shown

    assert sorted(await drained(lined)) == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"]
    await send(lined.broker, limited("later", "a"))

    assert await waiting(lined) == 1


async def test_an_index_that_was_deleted_is_put_right_from_the_envelopes(
    own_server: PrivateServer, lined: Worker, key: Key
) -> None:
    own_server.call("DEL", key("index"), key("index:"))
    await lined.broker.recover()

    assert sorted(await drained(lined)) == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"]


@pytest.mark.parametrize("level", ["rate", "rate_each"])
async def test_a_rate_goes_on_when_the_clock_was_set_back(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Key, level: str
) -> None:
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", **{level: 1000.0, "burst": 1, "burst_each": 1})])
    await send(limits, *(limited(f"job-{n}", "a") for n in range(3)))
    assert ids(await worker.claim()) == ["job-0"]

    set_back(own_server, key, 3600)
    await broker.recover()
    assert await wait_until_async(lambda: claimed(worker), description="the next job starts") == ["job-1"]


async def test_what_is_held_for_long_is_held_on(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Key
) -> None:
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", rate_each=1000.0), LimitSpec("slow", rate=0.0001)])
    await limits.hold_limit("api:a", 3600)
    await send(limits, limited("held", "a"), limited("slow-0", name="slow"), limited("slow-1", name="slow"))
    assert ids(await worker.claim()) == ["slow-0"]
    held = own_server.call("ZRANGE", key("wake"), 0, -1, "WITHSCORES")
    assert len(held) == 4

    await broker.recover()
    assert own_server.call("ZRANGE", key("wake"), 0, -1, "WITHSCORES") == held


async def claimed(worker: Worker) -> list[str]:
    return ids(await worker.claim())


def set_back(server: PrivateServer, key: Key, seconds: int) -> None:
    """As if the server's clock had been that far ahead until now: all times that it has written are."""
    for line, time in zip(*[iter(server.call("ZRANGE", key("wake"), 0, -1, "WITHSCORES"))] * 2, strict=True):
        server.call("ZADD", key("wake"), float(time) + seconds, line)
    for name in server.call("KEYS", key("tat:*")):
        server.call("SET", name, repr(float(server.call("GET", name)) + seconds * 1e6))


async def test_jobs_leave_no_key_behind(own_server: PrivateServer, lined: Worker, key: Key) -> None:
    assert sorted(await drained(lined)) == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"]
    assert left_behind(own_server, key) == {}


async def test_an_app_without_limits_has_no_key_of_them(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Key
) -> None:
    await send(broker, "plain")
    claim = await worker.claim()
    await worker.finish(claim.deliveries[0])
    await worker.wait(0.01)
    await broker.recover()

    words = ("l:", "lined", "ring:", "open", "limits", "places:", "limit:", "admitted", "slots:", "tat:", "wake")
    named = [name for name in keys_of(own_server, key) if name.startswith(words) or name.endswith((":g", ":b"))]
    assert named == []


def keys_of(server: PrivateServer, key: Key) -> list[str]:
    return [name.decode().removeprefix(key("")) for name in server.call("KEYS", "*")]


def left_behind(server: PrivateServer, key: Key) -> dict[str, Any]:
    """Keys of limits that are there only while jobs are."""
    words = ("l:", "lined", "ring:", "open", "admitted", "slots:", "wake")
    return {name: server.call("TYPE", key(name)) for name in keys_of(server, key) if name.startswith(words)}


async def test_newcomers_stand_behind_those_in_line_when_a_limit_was_deleted(
    own_server: PrivateServer, lined: Worker, key: Key
) -> None:
    limits = cast(Limits, lined.broker)
    own_server.call("DEL", key("limit:api"))

    await send(limits, limited("a-3", "a"))
    await lined.broker.recover()
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", max_running_each=1)])
    await send(limits, limited("b-3", "b"))

    ran = await drained(lined)
    assert [id for id in ran if id.startswith("a")] == ["a-0", "a-1", "a-2", "a-3"]
    assert [id for id in ran if id.startswith("b")] == ["b-0", "b-1", "b-2", "b-3"]


async def test_numbers_that_were_set_back_are_put_right_from_the_lines(
    own_server: PrivateServer, lined: Worker, key: Key
) -> None:
    own_server.call("HSET", key("limit:api"), "seq", 1)
    await lined.broker.recover()

    await send(lined.broker, limited("a-3", "a"))

    ran = await drained(lined)
    assert [id for id in ran if id.startswith("a")] == ["a-0", "a-1", "a-2", "a-3"]


async def test_a_lost_record_admits_too_many_once_and_loses_no_job(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Key, caplog: pytest.LogCaptureFixture
) -> None:
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", max_running_each=1)])
    await send(limits, *(limited(f"{by}-{n}", by) for n in range(4) for by in "abc"))
    held = (await worker.claim()).deliveries
    assert ids(held) == ["a-0", "b-0", "c-0"]

    own_server.call("DEL", key("admitted"))
    # One ends before anything looks, one goes back, and one runs on.
    await end(worker, held[0])
    await worker.requeue(held[1])
    await broker.recover()
    assert "had no record" in caplog.text

    most, running, ran = Counter[str](), [held[2]], list[str]()
    for _ in range(60):
        running += (await worker.claim()).deliveries
        most |= Counter(delivery.id[0] for delivery in running)
        if running:
            done = running.pop(0)
            await end(worker, done)
            ran.append(done.id)
        await broker.recover()
    assert sorted(ran) == sorted(f"{by}-{n}" for n in range(4) for by in "abc" if (by, n) != ("a", 0))
    assert most == {"a": 1, "b": 2, "c": 1}
    assert left_behind(own_server, key) == {}


@pytest.mark.parametrize("numbers", [{"max_running_each": 1}, {"max_running": 3, "max_running_each": 1}])
async def test_slots_are_free_though_all_jobs_ended_without_their_record(
    own_server: PrivateServer,
    broker: Broker,
    worker: Worker,
    key: Key,
    caplog: pytest.LogCaptureFixture,
    numbers: dict[str, int],
) -> None:
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", **numbers)])  # type: ignore[arg-type]
    await send(limits, *(limited(f"{by}-0", by) for by in "abc"))
    held = (await worker.claim()).deliveries
    own_server.call("DEL", key("admitted"))
    await end(worker, *held)

    await broker.recover()

    assert left_behind(own_server, key) == {}
    assert f"{key('admitted')} was deleted" in caplog.text
    await send(limits, *(limited(f"{by}-1", by) for by in "abc"))
    assert ids(await worker.claim()) == ["a-1", "b-1", "c-1"]
    caplog.clear()
    await broker.recover()
    assert caplog.text == ""
