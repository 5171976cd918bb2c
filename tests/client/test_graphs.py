"""Graphs as callers send them, on every broker: what is sent, what comes back, what is seen of it meanwhile."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from aiotask import (
    ConfigError,
    DependencyFailed,
    JobCancelled,
    ResultExpired,
    Status,
    Unresolved,
    chain,
    current_job,
    gather,
    group,
)
from aiotask.broker import Cancelled

from ..helpers import wait_until_async
from .graphs import Graphs


@pytest.fixture
def g(broker_url: str, app_name: str) -> Graphs:
    return Graphs(broker_url, app_name)


# ---- values


async def test_the_value_of_a_call_is_an_argument_of_another(g: Graphs) -> None:
    shared = g.add.s(1, 2)
    async with g.app, g.app.worker():
        assert await g.add.s(shared.cast, g.add.s(shared.cast, 4).cast).apply_async() == 10
        assert await g.add.apply_async(g.add.s(5).cast, b=6) == 11

    assert sorted(g.runs)[:1] == [("add", 1, 2)] and len(g.runs) == 5


async def test_groups_chains_and_maps(g: Graphs) -> None:
    async with g.app, g.app.worker(concurrency=4):
        numbers = group(g.add.s(n, n) for n in range(20))
        assert await numbers.then(g.total, 5).apply_async() == 385
        assert await group(g.add.s(1), g.add.s(2)).apply_async() == [1, 2]
        assert await group([group(g.add.s(1)), group(g.add.s(2), g.add.s(3))]).apply_async() == [[1], [2, 3]]
        assert await chain(g.add.s(1, 2), g.add, g.add).apply_async() == 3
        assert await g.add.map(range(10)) == list(range(10))
        assert await g.add.map(range(10), chunk=3) == list(range(10))
        assert await g.total.s(group(g.add.s(n) for n in ()).cast).apply_async() == 0


async def test_an_empty_group_is_there_without_a_broker(g: Graphs) -> None:
    empty = group([]).apply_async()

    assert await empty == [] and await empty.wait(1.0) == [] and empty.members == ()
    assert await asyncio.to_thread(empty.get) == []
    await empty.sent()
    assert await empty.status() is Status.SUCCESS
    assert await g.add.map([]) == await g.add.map([], chunk=5) == []


async def test_a_group_is_awaited_again_member_by_member_and_with_a_limit(g: Graphs) -> None:
    async with g.app, g.app.worker():
        result = group([g.add.s(1), g.gated.s(2)]).apply_async()
        with pytest.raises(TimeoutError, match="2 jobs of group"):
            await result.wait(0.3)
        assert await result.members[0] == 1
        g.gate.set()
        assert await result == await result.wait(20) == [1, 2]
        assert await gather(result.members) == [1, 2] and await result.status() is Status.SUCCESS


async def test_groups_are_gathered_like_jobs(g: Graphs) -> None:
    async with g.app, g.app.worker():
        results = [
            group(g.add.s(1), g.add.s(2)).apply_async(),
            g.add.map([3], chunk=2),
            group([g.bad.s(4)]).apply_async(),
        ]

        values = await gather(results, return_exceptions=True)

    assert values[:2] == [[1, 2], [3]] and isinstance(values[2], ValueError)


async def test_the_first_error_ends_the_wait_for_a_group(g: Graphs) -> None:
    async with g.app, g.app.worker():
        result = group(g.gated.s(1), g.bad.s(7)).apply_async()

        with pytest.raises(ValueError, match="bad 7"):
            await result
        assert await result.members[0].status() in (Status.PENDING, Status.RUNNING)
        g.gate.set()
        assert await result.members[0] == 1


async def test_what_is_behind_a_failure_fails_with_its_cause(g: Graphs) -> None:
    async with g.app, g.app.worker():
        first = g.bad.s(3)
        with pytest.raises(DependencyFailed, match="g:bad") as caught:
            await g.add.s(g.add.s(first.cast).cast).apply_async()

    assert caught.value.job_id == first.id and caught.value.task == "g:bad"
    assert isinstance(caught.value.__cause__, ValueError)
    assert g.runs == []


async def test_settled_takes_values_and_errors_in_their_order(g: Graphs) -> None:
    async with g.app, g.app.worker():
        calls = [g.bad.s(1), g.add.s(2), g.bad.s(3)]
        values = await g.shown.s([call.settled for call in calls]).apply_async()

    assert values == ["ValueError('bad 1')", "2", "ValueError('bad 3')"]


async def test_follow_ups_get_the_value_or_the_error(g: Graphs) -> None:
    async with g.app, g.app.worker():
        assert await g.add.s(1, 2).on_success(g.note, "well").on_error(g.note, "badly").apply_async() == 3
        with pytest.raises(ValueError, match="bad 1"):
            await g.bad.s(1).on_success(g.note, "well").on_error(g.note, "badly").apply_async()
        await wait_until_async(lambda: len(g.runs) == 3, description="both follow-ups have run")

    assert g.runs[:2] == [("add", 1, 2), ("well", 3)] and g.runs[2][0] == "badly"
    assert isinstance(g.runs[2][1], ValueError)


async def test_a_task_may_return_what_other_calls_will_bring(g: Graphs) -> None:
    async with g.app, g.app.worker():
        assert await g.fib.apply_async(7) == 13


# ---- what is refused, and what is the same


async def test_what_cannot_be_sent_sends_nothing(g: Graphs) -> None:
    sent = g.add.s(1)
    sent.apply_async()
    numbers: list[Any] = []
    circle = g.total.s(numbers)
    numbers.append(circle.cast)

    for call in (
        lambda: g.add.s(sent.cast).apply_async(),
        lambda: circle.apply_async(),
        lambda: g.add.s(g.add.options(key="k").s(1).cast).apply_async(),
        lambda: g.add.options(id="i").map([1]),
        lambda: g.add.s(1).on_success(g.note, g.add.s(2).cast).apply_async(),
    ):
        with pytest.raises(ConfigError):
            call()
    with pytest.raises(Unresolved):
        g.add.apply_async(g.add.s(1).cast + 1)
    await g.app.flush()
    async with g.app.inspector() as inspector:
        assert [job.id for job in await inspector.jobs()] == [sent.id]
    await g.app.client.close()


async def test_a_root_with_a_key_names_the_graph(g: Graphs) -> None:
    keyed = g.add.options(key="order-7")
    async with g.app, g.app.worker():
        first, second = (keyed.s(g.add.s(1, 2).cast, n).apply_async() for n in (10, 20))

        assert first.id == second.id
        assert await first == await second == 13
    assert sorted(g.runs) == [("add", 1, 2), ("add", 3, 10)]


async def test_sending_a_graph_twice_is_one_graph(g: Graphs) -> None:
    root = g.add.s(g.add.s(1).cast)
    async with g.app, g.app.worker():
        assert [await root.apply_async(), await root.apply_async()] == [1, 1]
        assert await g.app.result(root.id) == 1
        copied = pickle.loads(pickle.dumps(g.add.s(4)))
        assert await copied.apply_async() == 4
    assert len(g.runs) == 3


async def test_a_job_that_is_repeated_sends_the_same_graph_again(g: Graphs) -> None:
    ids: list[list[str]] = []

    @g.app.task(name="g:parent")
    async def parent() -> list[str]:
        inner = g.add.s(g.add.s(1).cast, 2)
        several = group(g.add.s(n) for n in range(3))
        outside = inner.then(g.add)
        ids.append([inner.id, several.id, outside.id, *(member.id for member in several.members)])
        return [str(await outside.apply_async()), str(await several.apply_async()), current_job().id]

    async with g.app, g.app.worker():
        outcome = await parent.apply_async()

    assert outcome[:2] == ["3", "[0, 1, 2]"]
    assert len(set(ids[0])) == 6 and all(id.startswith("00child-") for id in ids[0])


# ---- seen, cancelled, repeated


async def test_a_graph_is_seen_while_it_waits_and_when_it_has_ended(g: Graphs) -> None:
    inner, failing = g.gated.s(1), g.bad.s(2)
    root = g.shown.s([inner.cast, failing.settled])
    result = root.apply_async()
    await result.sent()

    waiting = await result.graph()
    assert waiting.id == root.id
    assert {node.task: node.status for node in waiting.nodes} == {
        "g:gated": "PENDING",
        "g:bad": "PENDING",
        "g:shown": "WAITING",
    }
    assert {node.upstream for node in waiting.nodes} == {(), (inner.id, failing.id)}
    assert await result.status() is Status.WAITING
    async with g.app.worker():
        g.gate.set()
        await result
        for id in (root.id, inner.id):
            ended = await g.app.graph(id)
            assert [node.status for node in sorted(ended.nodes, key=lambda node: node.task)] == [
                "FAILED",
                "SUCCESS",
                "SUCCESS",
            ]
        plain = g.add.apply_async(1)
        await plain
        assert [(node.id, node.task, node.status) for node in (await plain.graph()).nodes] == [
            (plain.id, "g:add", "SUCCESS")
        ]
        with pytest.raises(ResultExpired, match="not known as a graph or a job"):
            await g.app.graph("nowhere")
    await g.app.client.close()


@pytest.mark.parametrize("by_id", [False, True], ids=["handle", "id"])
async def test_cancelling_the_handle_cancels_what_has_not_ended(g: Graphs, by_id: bool) -> None:
    ended = g.add.s(1)
    members = group(ended, *(g.gated.s(n) for n in range(5)))
    result = members.then(g.total).apply_async()
    async with g.app, g.app.worker():
        await wait_until_async(lambda: bool(g.runs), description="a member has run")

        done = await (g.app.result(result.id) if by_id else result).cancel()

        assert done in (Cancelled.DONE, Cancelled.ASKED)
        with pytest.raises(JobCancelled):
            await result
        assert await g.app.result(ended.id) == 1
        for member in members.members[1:]:
            with pytest.raises(JobCancelled):
                await g.app.result(member.id)


@pytest.mark.parametrize("by_id", [False, True])
async def test_cancelling_a_job_that_has_returned_others_cancels_those(g: Graphs, by_id: bool) -> None:
    async with g.app, g.app.worker():
        result = g.waits.apply_async(2)
        await wait_until_async(lambda: g.runs.count("gated") == 2, description="what it has returned runs")
        assert await result.status() is Status.WAITING

        assert await (g.app.result(result.id) if by_id else result).cancel() is Cancelled.ASKED

        with pytest.raises(JobCancelled):
            await result.wait(20)
        nodes = (await g.app.graph(result.id)).nodes
        for node in nodes:
            with pytest.raises(JobCancelled):
                await g.app.result(node.id).wait(20)
        assert len(nodes) == 4
        g.gate.set()
        assert await g.add.apply_async(1) == 1
        assert [run for run in g.runs if run != "gated"] == [("add", 1, 0)]


async def test_cancelling_an_inner_job_fails_what_is_behind_it_and_nothing_else(g: Graphs) -> None:
    inner = g.gated.s(1)
    result = group(g.add.s(inner.cast), g.add.s(2)).apply_async()
    async with g.app, g.app.worker():
        await result.sent()
        await g.app.result(inner.id).cancel()

        with pytest.raises(DependencyFailed):
            await result.members[0]
        assert await result.members[1] == 2


async def test_a_graph_at_rest_is_repeated_where_it_failed(g: Graphs) -> None:
    is_repaired = False

    @g.app.task(name="g:flaky")
    async def flaky(n: int) -> int:
        if not is_repaired:
            raise ValueError("not yet")
        return n

    result = g.total.s([flaky.s(1).cast, g.add.s(2).cast]).apply_async()
    async with g.app, g.app.worker():
        with pytest.raises(DependencyFailed):
            await result
        is_repaired = True

        assert await g.app.replay_graph(result.id) == 2
        assert await g.app.result(result.id) == 3
        with pytest.raises(ResultExpired, match="not known"):
            await g.app.replay_graph("nowhere")
    assert g.runs == [("add", 2, 0)]
