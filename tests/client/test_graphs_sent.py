"""Graphs on their way to every broker: full queues, many nodes; and the jobs that a job has sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotask import ConfigError, QueueFull, ResultExpired, Status, current_job, group
from aiotask.brokers import connect
from aiotask.client.handed_over import shown

from .graphs import Graphs


@pytest.fixture
def g(broker_url: str, app_name: str) -> Graphs:
    return Graphs(broker_url, app_name)


# ---- full queues


@pytest.mark.parametrize("when_full", ["reject", "drop_oldest"])
async def test_a_graph_whose_sources_have_no_room_is_refused_whole(
    broker_url: str, app_name: str, when_full: str
) -> None:
    g = Graphs(broker_url, app_name, max_pending=3, when_full=when_full)
    result = group(g.add.s(n) for n in range(4)).apply_async()

    with pytest.raises(QueueFull):
        await result.sent()
    with pytest.raises(QueueFull):
        await result
    with pytest.raises(QueueFull):
        await result.members[2]
    fitting = g.total.s(group(g.add.s(n) for n in range(3)).cast).apply_async()
    await fitting.sent()
    with pytest.raises(QueueFull, match=r'no room for its jobs that start at once \(2 in "default"\)'):
        await group(g.add.s(n) for n in range(2)).apply_async().sent()
    with pytest.raises(ResultExpired):
        await g.app.result(result.members[0].id).status()
    await g.app.client.close()


@pytest.mark.parametrize("when_full", ["reject", "wait", "drop_oldest"])
async def test_a_graph_that_never_has_room_is_refused_at_once(broker_url: str, app_name: str, when_full: str) -> None:
    g = Graphs(broker_url, app_name, max_pending={"sums": 3}, when_full=when_full)
    add = g.add.options(queue="sums")
    chord = g.total.s([*(g.add.s(n).cast for n in range(5)), *(add.s(n).cast for n in range(4))]).apply_async()

    with pytest.raises(QueueFull, match=r'4 of its jobs start in queue "sums", where 3 may wait .* never has room'):
        await chord.sent()
    async with g.app, g.app.worker(queues=["default", "sums"]):
        assert await group(add.s(n) for n in range(3)).apply_async() == [0, 1, 2]


async def test_the_log_says_how_many_jobs_a_refused_graph_has(
    broker_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    g = Graphs(broker_url, app_name, max_pending=3)
    chord = g.total.s(group(g.add.s(n) for n in range(5)).cast).apply_async()
    alone = g.add.apply_async(1)
    await g.app.flush()

    assert f'Graph of 6 jobs not sent ({chord.id}): Graph "{chord.id}" was not sent: 5 of its jobs' in caplog.text
    assert "not sent (first" not in caplog.text
    await alone.sent()
    await g.app.client.close()


async def test_the_log_says_it_where_the_broker_is_away(tmp_path: Path, app_name: str) -> None:
    g = Graphs(f"unix://{tmp_path}/nowhere.sock", app_name)
    chord = g.total.s(group(g.add.s(n) for n in range(5)).cast).apply_async()
    jobs = [g.add.apply_async(n) for n in range(2)]
    buffer = g.app.client.session().send_buffer

    assert shown([*buffer.waiting.values()]) == f"8 jobs not sent (first: {chord.id}, 1 graph among them)"
    assert shown([*buffer.waiting.values()][1:]) == f"2 jobs not sent (first: {jobs[0].id})"
    buffer.refuse_all(ConfigError("no"))


async def test_a_graph_waits_for_room_behind_others_of_its_queue(broker_url: str, app_name: str) -> None:
    g = Graphs(broker_url, app_name, max_pending=2, when_full="wait")
    first = g.add.apply_async(1)
    graph = group(g.add.s(n) for n in range(2)).apply_async()
    last = g.add.apply_async(3)
    await first.sent()
    async with g.app, g.app.worker():
        assert [await first, await graph, await last] == [1, [0, 1], 3]


# ---- many


@pytest.mark.parametrize("count", [1, 149, 150, 151, 3_000])
async def test_a_graph_of_any_size_is_accepted_whole(g: Graphs, count: int) -> None:
    await g.add.apply_async(0).sent()
    result = g.total.s(group(g.add.s(n) for n in range(count)).cast).apply_async()
    behind = g.add.apply_async(1)
    await behind.sent()

    graph = await result.graph()

    assert len(graph.nodes) == count + 1
    assert sum(node.status == "WAITING" for node in graph.nodes) <= count and graph.nodes[-1].status == "WAITING"
    await g.app.client.close()


async def test_another_process_sees_a_graph_by_its_id(g: Graphs, broker_url: str, app_name: str) -> None:
    result = g.add.s(g.add.s(1).cast).apply_async()
    await g.app.flush()
    broker = connect(broker_url, app_name)

    (state,) = await broker.status([result.id])

    assert state.status is Status.WAITING
    await broker.close()
    await g.app.client.close()


async def test_the_id_of_a_group_is_none_of_a_job(g: Graphs) -> None:
    result = group(g.gated.s(1)).apply_async()
    await result.sent()
    async with g.app, g.app.worker():
        with pytest.raises(ConfigError, match="the id of a group"):
            await g.app.result(result.id)
        g.gate.set()
        assert await result == [1]


# ---- children


async def test_a_job_lists_what_it_has_sent(g: Graphs) -> None:
    @g.app.task(name="g:sender", retries=1)
    async def sender() -> int:
        for n in range(3):
            g.add.apply_async(n)
        await g.total.s([g.add.s(5).cast]).apply_async()
        if current_job().attempt == 1:
            raise ValueError("once more")
        return 1

    result = sender.options(retries=1).apply_async()
    async with g.app, g.app.worker():
        await result
        await g.app.flush()

        children = await result.children()

        assert len(children) == 8
        assert sorted([await child for child in children]) == [0, 0, 1, 1, 2, 2, 5, 5]
        assert await children[0].children() == []
