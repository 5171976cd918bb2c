"""G8, G9, G13, G20, G24: when a node is ready, what it costs until then, and how long its value is kept."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec
import pytest
import redis

from aiotask import App, Status
from aiotask.broker import Broker
from aiotask.brokers import connect, graphs_of
from aiotask.job import RELEASE

from ...helpers import wait_until_async
from ...server import PrivateServer
from ..stage import Stage


async def status(nodes: Stage, id: str) -> str:
    """As another process sees it, which knows nothing but the id."""
    return await nodes.app.result(id).status()


async def test_g8_every_node_has_its_status_before_while_and_after_it_runs(nodes: Stage) -> None:
    nodes.start(2)
    first = nodes.at_the_gate.s(1, "first")
    second = nodes.aat_the_gate.s(first.cast, "second")
    third = nodes.boom.s()
    fourth = nodes.after.s(second.cast, third.settled)
    result = fourth.apply_async()
    ids = [call.id for call in (first, second, fourth)]

    async def statuses() -> list[str]:
        return [await status(nodes, id) for id in ids]

    async def are(*wanted: Status) -> None:
        async def they_are() -> bool:
            return await statuses() == list(wanted)

        await wait_until_async(they_are, description=f"they are {wanted}")

    await are(Status.RUNNING, Status.WAITING, Status.WAITING)
    nodes.open_gate("first")
    await are(Status.SUCCESS, Status.RUNNING, Status.WAITING)
    nodes.open_gate("second")
    await result
    await are(Status.SUCCESS, Status.SUCCESS, Status.SUCCESS)
    assert await status(nodes, third.id) == Status.FAILED


async def test_g8_nodes_whose_results_are_not_kept_have_their_status_after_the_end(nodes: Stage) -> None:
    nodes.start(1)
    good, bad = nodes.give.options(result_ttl=0).s(1), nodes.boom.options(result_ttl=0).s()
    result = nodes.agive.s([good.cast, bad.settled], "last").apply_async()

    await result

    # As another process sees it, which knows nothing but the id; the values that the last one took are gone by now.
    async with App(nodes.app.name, url=nodes.app.url) as app:
        statuses = {node.id: node.status for node in (await app.graph(result.id)).nodes}
    assert statuses == {good.id: "SUCCESS", bad.id: "FAILED", result.id: "SUCCESS"}


async def test_g9_a_graph_that_waits_costs_the_server_nothing(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)

    @app.task(name="shop:give", queue="shop")
    def give(value: Any) -> Any:
        return value

    broker = connect(own_server.url, app_name)
    await broker.open()
    await broker.enlist("host-1.1", "host-1", msgspec.msgpack.encode({"release": RELEASE}))

    async def round_of_worker_and_keeper() -> Counter[str]:
        own_server.call("CONFIG", "RESETSTAT")
        await turn(broker)
        stats = own_server.call("INFO", "commandstats")
        return Counter({name: stat["calls"] for name, stat in stats.items() if "config" not in name})

    async with app:
        await give.apply_async(0).sent()
        await turn(broker)
        before = await round_of_worker_and_keeper()
        calls = [give.s(0)]
        for _ in range(500):
            calls.append(give.s(calls[-1].cast))
        await calls[-1].apply_async().sent()
        await turn(broker)
        after = await round_of_worker_and_keeper()
        # The audit, once a second, looks at ten nodes and what is upstream of them, however many wait.
        assert (after - before).total() <= 100, after - before
    await broker.close()


async def turn(broker: Broker) -> None:
    """What a worker of another queue, and a keeper, ask again and again."""
    await broker.claim("host-1.1", ["default"], [], 10)
    await broker.promote()
    await broker.recover()
    await graphs_of(broker).advance()


async def test_g13_who_follows_a_failure_is_told_when_everything_upstream_has_ended(nodes: Stage) -> None:
    nodes.start(3)
    members = [nodes.boom.s(), nodes.at_the_gate.s(1)]
    chord = nodes.agive.s([member.cast for member in members]).on_error(nodes.agive, "told")
    result = chord.apply_async()

    with pytest.raises(KeyError):
        await nodes.app.result(members[0].id)
    await wait_until_async(lambda: nodes.ledger.runs("at the gate"), description="the other member runs")
    assert nodes.ledger.runs("told") == []
    nodes.open_gate()
    with pytest.raises(Exception, match="was not run"):
        await result

    [told] = await wait_until_async(lambda: nodes.ledger.runs("told"), description="the follow-up has run")
    [late] = nodes.ledger.runs("at the gate")
    assert late.end is not None and told.start > late.end


async def test_g20_a_large_value_is_on_the_server_once(nodes: Stage) -> None:
    nodes.start(2)
    server = redis.Redis.from_url(nodes.url)
    data = nodes.blob.s(1_000_000)
    members = [nodes.aat_the_gate.s(data.cast) for _ in range(50)]
    result = nodes.size.s(nodes.again.s(members[0].cast).cast).then(nodes.agive)
    sizes = [nodes.size.s(member.cast) for member in members]
    last = nodes.agive.s([result.cast, *(size.cast for size in sizes)]).apply_async()
    await wait_until_async(lambda: len(nodes.ledger.runs("at the gate")) == 50, description="all of them have it")

    keys = [key for key in server.scan_iter(f"aiotask1:{{{nodes.app.name}}}:*", count=1000)]
    total = sum(server.memory_usage(key) or 0 for key in keys)
    assert 1_000_000 < total < 2_000_000
    nodes.open_gate()
    assert await last == [1_000_000] * 51


async def test_g20_a_value_that_is_not_kept_is_there_until_the_last_dependent_has_ended_well(nodes: Stage) -> None:
    nodes.start(1)
    server = redis.Redis.from_url(nodes.url)
    data = nodes.blob.options(result_ttl=0).s(1_000)
    key = f"aiotask1:{{{nodes.app.name}}}:r:{data.id}"
    result = nodes.fail_at_the_gate.s(data.cast).apply_async()

    await wait_until_async(lambda: nodes.ledger.ended("fails") > 5, description="it has been retried some times")
    assert server.exists(key)
    nodes.open_gate()
    assert await result == 1_000
    await wait_until_async(lambda: not server.exists(key), description="the value is gone")


async def test_g24_a_delay_counts_from_the_moment_at_which_everything_upstream_has_ended(nodes: Stage) -> None:
    nodes.start(1)
    call = nodes.at_the_gate.s(1)
    result = nodes.give.options(delay=0.5).s(call.cast, "late").apply_async()
    await wait_until_async(lambda: nodes.ledger.runs("at the gate"), description="the first one runs")
    nodes.open_gate()

    assert await result == 1
    [first], [late] = nodes.ledger.runs("at the gate"), nodes.ledger.runs("late")
    assert first.end is not None and late.start > first.end + 0.49


async def test_g24_an_expiry_counts_from_the_moment_at_which_everything_upstream_has_ended(nodes: Stage) -> None:
    nodes.start(1, "--queues", "default")
    call = nodes.at_the_gate.s(1)
    kept = nodes.give.options(expires=600, queue="later").s(call.cast, "kept")
    lost = nodes.give.options(expires=0.3, queue="later").s(call.cast, "lost")
    result = nodes.agive.s([kept.settled, lost.settled], "all").apply_async()
    [first] = await wait_until_async(lambda: nodes.ledger.runs("at the gate"), description="the first one runs")
    await wait_until_async(lambda: time.monotonic() > first.start + 0.4, description="more than that has passed")
    nodes.open_gate()

    async def is_ready() -> bool:
        return await status(nodes, lost.id) == Status.PENDING

    await wait_until_async(is_ready, description="its time begins now")
    now = time.monotonic()
    await wait_until_async(lambda: time.monotonic() > now + 0.4, description="its time is over")
    nodes.start(1, "--queues", "later")

    value, error = await result
    assert value == 1 and type(error).__name__ == "JobExpired"
    assert nodes.ledger.runs("lost") == []


async def test_g24_a_burst_ends_when_nothing_of_a_graph_is_left(nodes: Stage) -> None:
    source = nodes.agive.s(1)
    members = [nodes.agive.s(source.cast, "member") for _ in range(3_000)]
    result = nodes.agive.s([member.cast for member in members], "all").apply_async()
    await result.sent()
    supervisor = nodes.start(2, "--burst", wait=False)

    assert supervisor.wait(100) == 0
    assert len(nodes.ledger.runs("member")) == 3_000
    assert len(nodes.ledger.runs("all")) == 1
    assert await result == [1] * 3_000
