"""cancel, conclude, steer, unfinished: jobs and graphs end before their time, and run again."""

from __future__ import annotations

from aiotask.broker import Cancelled
from aiotask.brokers.graphs import Conclusion, Graphs, Taken
from aiotask.job import Status

from ...graphs import Run, advance_all, cancel_all, chain, end, grow, node, send_graph
from ...seam import GONE, Worker, ids, is_unknown, outcome_of, send, status_of


def conclusion(id: str, status: Status = Status.CANCELLED) -> Conclusion:
    return Conclusion(id, GONE, status, 3600.0)


# ---- conclude


async def test_what_has_not_started_is_concluded(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a", "b")
    [first] = (await worker.claim(1)).deliveries

    assert await graphs.conclude([conclusion("a"), conclusion("b", Status.EXPIRED), conclusion("c")]) == [
        first.id != "a",
        first.id != "b",
        False,
    ]

    assert ids(await worker.claim()) == []


async def test_what_has_ended_is_not_concluded(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a")
    assert await graphs.conclude([conclusion("a")]) == [True]

    assert await graphs.conclude([conclusion("a")]) == [False]
    assert await outcome_of(graphs, "a") == GONE


async def test_a_concluded_node_feeds_what_is_behind_it(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n3", chain(3))

    assert await graphs.conclude([conclusion("n2")]) == [True]
    await advance_all(graphs)

    # n1 has not ended, so it runs; n3 is told of the end of n2.
    assert await status_of(graphs, "n3") is Status.PENDING
    assert await outcome_of(graphs, "n2") == GONE
    assert sorted(ids(await worker.claim())) == ["n1", "n3"]


# ---- cancel


async def test_a_waiting_node_is_cancelled(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n3", chain(3))

    assert await graphs.cancel("n2", GONE, 3600.0) is Cancelled.DONE
    await advance_all(graphs)

    assert await outcome_of(graphs, "n2") == GONE
    assert await status_of(graphs, "n3") is Status.PENDING
    ran = await Run(worker, "n3", {"n1": 1, "n3": 3}).to_its_end()
    assert sorted(ran.order) == ["n1", "n3"]
    assert await graphs.unfinished("n3", 0, 10) == []


async def test_a_node_that_is_ready_is_cancelled(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))

    assert await graphs.cancel("n1", GONE, 3600.0) is Cancelled.DONE
    await advance_all(graphs)

    assert ids(await worker.claim()) == ["n2"]


async def test_a_running_node_is_asked(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    await worker.claim()

    assert await graphs.cancel("n1", GONE, 3600.0) is Cancelled.ASKED
    assert await graphs.cancels(worker.name, ["n1"]) == [GONE]


async def test_a_cancelled_node_that_grows_ends(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await graphs.cancel("n1", GONE, 3600.0)

    returned = [node(4), node(5, 4, id="n1")]
    assert await grow(graphs, "n2", first, 1, returned, first=start) is Taken.NOT_YOURS
    assert await grow(graphs, "n2", first, 1, returned, first=start) is Taken.NOT_YOURS
    await advance_all(graphs)

    assert await outcome_of(graphs, "n1") == GONE
    assert ids(await worker.claim()) == ["n2"]


async def test_of_a_cancelled_graph_nothing_becomes_ready(graphs: Graphs, worker: Worker) -> None:
    nodes = [node(1), node(2), node(3, 1), node(4, 2, 3)]
    await send_graph(graphs, "n4", nodes)
    running = (await worker.claim(1)).deliveries[0]

    assert (await graphs.steer("n4")).answer == "done"
    assert "n4" in (await graphs.advance()).cancelling
    await end(worker, "n4", running, int(running.id[1:]))
    concluded = await cancel_all(graphs, "n4")
    assert sorted(concluded) == sorted({"n1", "n2", "n3", "n4"} - {running.id})
    assert ids(await worker.claim()) == []
    assert (await graphs.advance()).cancelling == []
    assert await graphs.unfinished("n4", 0, 10) == []


async def test_a_graph_that_grows_while_it_is_cancelled_is_named_again(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await graphs.steer("n2")
    assert await cancel_all(graphs, "n2") == ["n2"]

    await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start)

    assert (await graphs.advance()).cancelling == ["n2"]
    assert await cancel_all(graphs, "n2") == ["n4", "n1"]
    assert await graphs.unfinished("n2", 0, 10) == []


async def test_an_unknown_graph_is_not_steered(graphs: Graphs) -> None:
    assert (await graphs.steer("no-graph")).answer == "unknown"
    assert (await graphs.steer("no-graph", replay=True)).answer == "unknown"


async def test_10000_waiting_jobs_are_cancelled(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "wide", [node(1), *(node(n, 1) for n in range(2, 3001))])
    await graphs.steer("wide")

    assert len(await cancel_all(graphs, "wide")) == 3000

    assert await graphs.unfinished("wide", 0, 10) == []
    assert ids(await worker.claim()) == []


# ---- replay


async def test_a_replay_runs_what_did_not_end_well_again(graphs: Graphs, worker: Worker) -> None:
    nodes = [node(1), node(2, 1), node(3, 2), node(4, 1), node(5, 3, 4)]
    numbers = {n.push.id: n.number for n in nodes}
    await send_graph(graphs, "n5", nodes)
    await Run(worker, "n5", numbers, ["n2", "n3", "n5"]).to_its_end()

    steered = await graphs.steer("n5", replay=True)
    await advance_all(graphs)

    assert (steered.answer, steered.count) == ("done", 3)
    assert await status_of(graphs, "n3") is Status.WAITING
    assert await status_of(graphs, "n2") is Status.PENDING
    ran = await Run(worker, "n5", numbers).to_its_end()
    assert ran.waves == [["n2"], ["n3"], ["n5"]]
    assert await graphs.unfinished("n5", 0, 10) == []
    assert (await graphs.steer("n5", replay=True)).count == 0


async def test_a_graph_that_runs_is_not_replayed(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))

    assert (await graphs.steer("n2", replay=True)).answer == "running"


async def test_a_replay_needs_the_values_upstream(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    await Run(worker, "n2", {"n1": 1, "n2": 2}, ["n2"]).to_its_end()
    await graphs.forget(["n1"])

    steered = await graphs.steer("n2", replay=True)

    assert (steered.answer, steered.missing) == ("gone", "n1")


async def test_a_cancelled_graph_is_replayed(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n3", chain(3))
    await graphs.steer("n3")
    await cancel_all(graphs, "n3")

    assert (await graphs.steer("n3", replay=True)).count == 3
    await advance_all(graphs)

    ran = await Run(worker, "n3", {"n1": 1, "n2": 2, "n3": 3}).to_its_end()
    assert ran.order == ["n1", "n2", "n3"]


async def test_a_replay_runs_a_job_that_grew_where_it_failed(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start)
    numbers = {"n4": 4, "n1": 5, "n2": 2}
    await Run(worker, "n2", numbers, ["n4", "n1", "n2"]).to_its_end()

    await graphs.steer("n2", replay=True)
    await advance_all(graphs)

    assert (await Run(worker, "n2", numbers).to_its_end()).order == ["n4", "n1", "n2"]
    assert await graphs.unfinished("n2", 0, 10) == []


async def test_a_follow_up_on_success_runs_once_a_replay_succeeds(graphs: Graphs, worker: Worker) -> None:
    numbers = await replayed_with_follow_up(graphs, worker, "s", fails=["n1", "n2"])

    assert (await Run(worker, "n2", numbers).to_its_end()).waves == [["n1"], ["n2", "n3"]]
    assert await graphs.unfinished("n2", 0, 10) == []


async def test_a_follow_up_on_success_is_dropped_again_where_a_replay_fails(graphs: Graphs, worker: Worker) -> None:
    numbers = await replayed_with_follow_up(graphs, worker, "s", fails=["n1", "n2"])

    assert (await Run(worker, "n2", numbers, ["n1", "n2"]).to_its_end()).order == ["n1", "n2"]
    assert await is_unknown(graphs, "n3")
    assert (await graphs.steer("n2", replay=True)).count == 2
    await advance_all(graphs)
    assert sorted((await Run(worker, "n2", numbers).to_its_end()).order) == ["n1", "n2", "n3"]


async def test_a_follow_up_on_error_that_failed_runs_again_where_a_replay_fails(graphs: Graphs, worker: Worker) -> None:
    numbers = await replayed_with_follow_up(graphs, worker, "e", fails=["n1", "n2", "n3"])

    assert (await Run(worker, "n2", numbers, ["n1", "n2"]).to_its_end()).waves == [["n1"], ["n2", "n3"]]


async def test_a_follow_up_on_error_of_a_job_that_succeeded_stays_dropped(graphs: Graphs, worker: Worker) -> None:
    numbers = await replayed_with_follow_up(graphs, worker, "e", fails=["n2"])

    assert (await Run(worker, "n2", numbers).to_its_end()).order == ["n2"]


async def replayed_with_follow_up(graphs: Graphs, worker: Worker, condition: str, fails: list[str]) -> dict[str, int]:
    """Run two jobs, and n3 that follows n1; then replay the graph."""
    await send_graph(graphs, "n2", [node(1), node(2, 1), node(3, 1, condition=condition)])
    numbers = {"n1": 1, "n2": 2, "n3": 3}
    await Run(worker, "n2", numbers, fails).to_its_end()
    assert (await graphs.steer("n2", replay=True)).count == len(fails)
    await advance_all(graphs)
    return numbers


async def test_a_chord_of_many_is_replayed(graphs: Graphs, worker: Worker) -> None:
    nodes = [node(1), *(node(n, 1) for n in range(2, 501)), node(501, *range(2, 501))]
    numbers = {n.push.id: n.number for n in nodes}
    await send_graph(graphs, "n501", nodes)
    await Run(worker, "n501", numbers, list(numbers)).to_its_end()
    assert not await is_unknown(graphs, "n501")

    assert (await graphs.steer("n501", replay=True)).count == 501
    await advance_all(graphs)

    ran = await Run(worker, "n501", numbers).to_its_end()
    assert ran.order[0] == "n1"
    assert ran.order[-1] == "n501"
    assert len(ran.order) == 501
