"""What an inspector shows of graphs."""

from __future__ import annotations

import pytest

from aiotask.brokers import inspect_graphs
from aiotask.brokers.graphs import Graphs
from aiotask.inspector import GraphInspector, JobFilter
from aiotask.job import Status

from ...graphs import Run, cancel_all, chain, end, grow, node, parts, send_graph
from ...seam import Worker, send


@pytest.fixture
def reader(graphs: Graphs) -> GraphInspector:
    return inspect_graphs(graphs)


async def test_a_graph_is_shown_by_its_id_and_by_that_of_a_node(
    graphs: Graphs, reader: GraphInspector, worker: Worker
) -> None:
    await send_graph(graphs, "root", [node(1), node(2, 1), node(3, 1, 2)])

    shown = await reader.graph("root")

    assert shown is not None
    assert (shown.id, shown.state, shown.total, shown.left, shown.more) == ("root", "accepted", 3, 3, False)
    assert [(n.number, n.id, n.task, n.upstream, n.waiting) for n in shown.nodes] == [
        (1, "n1", "shop.tasks:render", (), False),
        (2, "n2", "shop.tasks:render", (1,), True),
        (3, "n3", "shop.tasks:render", (1, 2), True),
    ]
    assert await reader.graph("n3") == shown
    assert await reader.graph("n9") is None


async def test_pages_of_a_graph_make_the_whole(graphs: Graphs, reader: GraphInspector) -> None:
    await send_graph(graphs, "root", [*(node(n) for n in range(1, 701)), node(701, *range(1, 701))])
    numbers: list[int] = []
    after = 0

    while page := await reader.graph("root", after, 300):
        numbers += [n.number for n in page.nodes]
        after += 300
        if not page.more:
            break

    assert numbers == list(range(1, 702))
    assert page is not None
    assert page.nodes[-1].upstream == tuple(range(1, 701))


@pytest.mark.parametrize("condition", ["s", "e"])
async def test_a_follow_up_that_was_dropped_is_not_shown(
    graphs: Graphs, reader: GraphInspector, worker: Worker, condition: str
) -> None:
    await send_graph(graphs, "n1", [node(1), node(2, 1, condition=condition)])
    [first] = (await worker.claim()).deliveries
    before = await reader.graph("n1")
    assert before is not None
    assert [n.id for n in before.nodes] == ["n1", "n2"]

    await end(worker, "n1", first, 1, Status.FAILED if condition == "s" else Status.SUCCESS)

    after = await reader.graph("n1")
    assert after is not None
    assert (after.state, [n.id for n in after.nodes]) == ("ended", ["n1"])


async def test_ends_are_shown(graphs: Graphs, reader: GraphInspector, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    await Run(worker, "n2", {"n1": 1, "n2": 2}, ["n2"]).to_its_end()

    shown = await reader.graph("n2")

    assert shown is not None
    assert (shown.state, shown.left) == ("ended", 0)
    assert [(n.bad, n.waiting) for n in shown.nodes] == [(False, False), (True, False)]


async def test_what_a_job_returned_names_it(graphs: Graphs, reader: GraphInspector, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await graphs.reserve("n2", 3)
    await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start)

    shown = await reader.graph("n2")

    assert shown is not None
    assert [(n.number, n.id, n.parent) for n in shown.nodes] == [(1, "n1", ""), (2, "n2", ""), (4, "n4", "n1")]
    later = await reader.graph("n2", 3)
    assert later is not None and [(n.id, n.parent) for n in later.nodes] == [("n4", "n1")]
    # Two more numbers were given to jobs that there already are, and three to none.
    assert [graph.total for graph in await reader.graphs()] == [3]


async def test_a_plain_job_that_has_returned_calls_is_counted_once(
    graphs: Graphs, reader: GraphInspector, worker: Worker
) -> None:
    await send(graphs, "n1")
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n1", 4)
    await grow(
        graphs,
        "n1",
        first,
        0,
        [node(start + 1), node(start + 2), node(start + 3, start + 1, start + 2, id="n1")],
        first=start,
    )

    assert [graph.total for graph in await reader.graphs()] == [3]


async def test_a_dropped_follow_up_counts_again_when_it_is_wanted(
    graphs: Graphs, reader: GraphInspector, worker: Worker
) -> None:
    await send_graph(graphs, "n1", [node(1), node(2, 1, condition="s"), node(3, 1, condition="e")])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n1", first, 1, Status.FAILED)
    await Run(worker, "n1", {"n3": 3}).to_its_end()
    failed = [graph.total for graph in await reader.graphs()]

    await graphs.steer("n1", replay=True)
    while (await graphs.advance()).left:
        pass
    again = [graph.total for graph in await reader.graphs()]
    await Run(worker, "n1", {"n1": 1, "n2": 2}).to_its_end()

    assert (failed, again) == ([2], [3])
    assert [graph.total for graph in await reader.graphs()] == [3]


async def test_what_is_not_accepted_is_not_shown(graphs: Graphs, reader: GraphInspector, worker: Worker) -> None:
    some = parts("big", chain(900))
    assert len(some) > 1
    await graphs.push_graph("client", 1, some[0])

    assert await reader.graph("big") is None
    assert await reader.graphs() == []


async def test_graphs_are_listed(graphs: Graphs, reader: GraphInspector, worker: Worker) -> None:
    await send_graph(graphs, "n1", [node(1)])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n1", first, 1)
    await send_graph(graphs, "m", [node(1, id="m1")])
    await graphs.steer("m")
    await cancel_all(graphs, "m")
    await send_graph(graphs, "l", [node(1, id="l1")])

    listed = {each.id: (each.state, each.total, each.left) for each in await reader.graphs()}

    assert listed == {
        "n1": ("ended", 1, 0),
        "m": ("ended", 1, 0),
        "l": ("accepted", 1, 1),
    }
    assert len(await reader.graphs(1, 1)) == 1


async def test_work_on_the_agenda_is_work_that_waits(graphs: Graphs, reader: GraphInspector) -> None:
    assert not await reader.is_waiting(["elsewhere"])
    await graphs.push_graph("client", 1, parts("wide", [node(n, queue="images") for n in range(1, 151)])[0])

    waits = await reader.is_waiting(["elsewhere"])
    while (await graphs.advance()).left:
        pass

    # The memory broker does all of it at once.
    assert waits is (graphs.url != "memory://")
    assert not await reader.is_waiting(["elsewhere"])


async def test_jobs_that_wait_for_others_are_listed(graphs: Graphs, reader: GraphInspector, worker: Worker) -> None:
    await send_graph(graphs, "root", [node(1), *(node(n, 1) for n in range(2, 60)), node(60, 1, queue="mail")])

    waiting = await reader.jobs(status=Status.WAITING, limit=100)

    assert sorted(job.id for job in waiting) == sorted(f"n{n}" for n in range(2, 61))
    assert {job.status for job in waiting} == {Status.WAITING}
    assert [job.id for job in await reader.jobs(status=Status.WAITING, queue="mail")] == ["n60"]
    assert [job.id for job in await reader.jobs(status=Status.WAITING, limit=3)] == [job.id for job in waiting[:3]]
    assert {job.id for job in await reader.jobs(limit=100)} == {"n1", *(job.id for job in waiting)}
    one = await reader.job("n60")
    assert one is not None and one == next(job for job in waiting if job.id == "n60")
    assert one.sealed is not None and b"n60" in one.sealed
    [first] = (await worker.claim(1)).deliveries
    await end(worker, "root", first, 1)
    assert await reader.jobs(status=Status.WAITING) == []


async def test_a_graph_says_since_when_it_is_in_its_state(
    graphs: Graphs, reader: GraphInspector, worker: Worker
) -> None:
    await send_graph(graphs, "root", [node(1)])
    accepted = await reader.graph("root")
    await Run(worker, "root", {"n1": 1}).to_its_end()
    ended = await reader.graph("root")

    assert accepted is not None and ended is not None
    assert 1e9 < accepted.since <= ended.since
    assert [each.since for each in await reader.graphs()] == [ended.since]


async def test_jobs_that_wait_for_others_are_on_pages(graphs: Graphs, reader: GraphInspector) -> None:
    for name in ("a", "b", "c"):
        nodes = [node(1, id=f"{name}1"), *(node(n, 1, id=f"{name}{n}") for n in range(2, 8))]
        await send_graph(graphs, f"{name}7", nodes)
    every = sorted(f"{name}{n}" for name in "abc" for n in range(2, 8))

    for limit in (1, 4, 100):
        found: list[str] = []
        after = ""
        while True:
            page = await reader.page(JobFilter(Status.WAITING), after, limit)
            found += [info.id for info in page.jobs]
            after = page.after
            if not after:
                break
        assert sorted(found) == every, limit
    assert (await reader.stats()).waiting == len(every)
    whole = await reader.page(JobFilter(queue="default", prefix="b"), limit=100)
    assert sorted(info.id for info in whole.jobs) == [f"b{n}" for n in range(1, 8)]
