"""A graph runs: each node after everything upstream of it, with what ends well and badly."""

from __future__ import annotations

import pytest

from aiotask.broker import Settled
from aiotask.brokers.graphs import Graphs, Node, Taken
from aiotask.job import Status

from ...graphs import Run, advance_all, chain, end, ending, grow, node, send_graph
from ...helpers import wait_until_async
from ...seam import Worker, ids, is_unknown, outcome_of, sealed_outcome, send, status_of


def numbers_of(nodes: list[Node]) -> dict[str, int]:
    return {node.push.id: node.number for node in nodes}


async def run(worker: Worker, graph: str, nodes: list[Node], *fails: str) -> Run:
    await send_graph(worker.broker, graph, nodes)  # type: ignore[arg-type]
    return await Run(worker, graph, numbers_of(nodes), fails).to_its_end()


async def test_a_chain_runs_one_after_the_other(worker: Worker) -> None:
    assert (await run(worker, "n3", chain(3))).waves == [["n1"], ["n2"], ["n3"]]


async def test_a_node_runs_after_everything_upstream_of_it(worker: Worker) -> None:
    diamond = [node(1), node(2, 1), node(3, 1), node(4, 2, 3)]

    assert (await run(worker, "n4", diamond)).waves == [["n1"], ["n2", "n3"], ["n4"]]


@pytest.mark.parametrize("members", [300, 2000])
async def test_a_chord_of_many_runs_once_all_have_ended(worker: Worker, members: int) -> None:
    nodes = [*(node(n) for n in range(1, members + 1)), node(members + 1, *range(1, members + 1))]

    ran = await run(worker, f"n{members + 1}", nodes)

    assert ran.order[-1] == f"n{members + 1}"
    assert sorted(ran.order) == sorted(numbers_of(nodes))


async def test_every_node_of_two_wide_layers_runs_once(worker: Worker) -> None:
    first = [node(n) for n in range(1, 61)]
    second = [node(n, *range(1, 61)) for n in range(61, 121)]

    ran = await run(worker, "layers", first + second)

    assert sorted(ran.order) == sorted(numbers_of(first + second))
    assert {id for id in ran.order[:60]} == set(numbers_of(first))


async def test_what_is_behind_a_failed_job_becomes_ready_all_the_same(worker: Worker) -> None:
    # The worker decides whether it may run, since it alone can open the outcome.
    assert (await run(worker, "n3", chain(3), "n1")).order == ["n1", "n2", "n3"]


async def test_a_node_is_waiting_until_it_is_ready(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))

    assert await status_of(graphs, "n2") is Status.WAITING
    [first] = (await worker.claim()).deliveries
    assert await status_of(graphs, "n1") is Status.RUNNING
    await end(worker, "n2", first, 1)
    assert await status_of(graphs, "n2") is Status.PENDING


async def test_a_node_on_another_queue_is_ready_there(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", [node(1), node(2, 1, queue="images", priority=2)])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n2", first, 1)

    elsewhere = await Worker(graphs, "host.2", ["images"]).enlist()

    assert ids(await worker.claim()) == []
    [second] = (await elsewhere.claim()).deliveries
    assert second.lane == "q:images:2"


async def test_a_delay_counts_from_when_a_node_is_ready(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", [node(1), node(2, 1, delay=3600.0)])
    assert await status_of(graphs, "n2") is Status.WAITING
    [first] = (await worker.claim()).deliveries

    await end(worker, "n2", first, 1)

    assert await status_of(graphs, "n2") is Status.SCHEDULED
    _, until = await graphs.promote()
    assert until is not None
    assert 3590 < until <= 3600


async def test_a_source_with_a_time_in_the_past_is_ready_at_once(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n1", [node(1, eta=1.0)])
    await graphs.promote()

    assert ids(await worker.claim()) == ["n1"]


# ---- ends


async def test_a_node_ends_once(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries

    assert await end(worker, "n2", first, 1) is Settled.DONE
    assert await end(worker, "n2", first, 1) is Settled.BEFORE
    assert await end(worker, "n2", first, 1, Status.FAILED) is Settled.NOT_YOURS
    assert ids(await worker.claim()) == ["n2"]


async def test_a_node_that_went_to_another_worker_is_not_ended(graphs: Graphs, worker: Worker, other: Worker) -> None:
    await send_graph(graphs, "n3", [node(1), node(2), node(3, 1, 2)])
    first, second = (await worker.claim()).deliveries
    await worker.requeue(second)
    [again] = (await other.claim()).deliveries
    batch = [ending("n3", first, 1), ending("n3", second, 2)]

    settled, _, _ = await graphs.finish_special(worker.name, batch)

    assert settled == [Settled.DONE, Settled.NOT_YOURS]
    assert await status_of(graphs, "n3") is Status.WAITING
    await end(other, "n3", again, 2)
    assert await status_of(graphs, "n3") is Status.PENDING


async def test_plain_jobs_end_beside_nodes(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    await send(graphs, "plain")
    by_id = {delivery.id: delivery for delivery in (await worker.claim()).deliveries}

    batch = [ending("n2", by_id["n1"], 1), ending("", by_id["plain"], 0)]
    settled, _, _ = await graphs.finish_special(worker.name, batch)

    assert settled == [Settled.DONE, Settled.DONE]
    assert await outcome_of(graphs, "plain") == sealed_outcome("plain")
    assert ids(await worker.claim()) == ["n2"]


# ---- outcomes


async def test_an_outcome_that_a_node_may_want_stays_until_that_has_ended(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", [node(1, result_ttl=0.0), node(2, 1, result_ttl=0.0)])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n2", first, 1, result_ttl=0.0)
    assert await outcome_of(graphs, "n1") == sealed_outcome("n1")

    [second] = (await worker.claim()).deliveries
    await end(worker, "n2", second, 2, result_ttl=0.0)

    assert await is_unknown(graphs, "n1")
    assert await is_unknown(graphs, "n2")


async def test_an_outcome_stays_after_a_dependent_failed(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", [node(1, result_ttl=0.0), node(2, 1, result_ttl=0.0)])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n2", first, 1, result_ttl=0.0)
    [second] = (await worker.claim()).deliveries
    await end(worker, "n2", second, 2, Status.FAILED, result_ttl=0.0)
    await advance_all(graphs)

    assert await outcome_of(graphs, "n1") == sealed_outcome("n1")


# ---- follow-ups


@pytest.mark.parametrize(
    ("status", "condition", "runs"),
    [
        (Status.SUCCESS, "s", True),
        (Status.FAILED, "s", False),
        (Status.CANCELLED, "s", False),
        (Status.SUCCESS, "e", False),
        (Status.FAILED, "e", True),
        (Status.EXPIRED, "e", True),
        (Status.CANCELLED, "e", False),
    ],
)
async def test_a_follow_up_runs_as_its_condition_says(
    graphs: Graphs, worker: Worker, status: Status, condition: str, runs: bool
) -> None:
    await send_graph(graphs, "n1", [node(1), node(2, 1, condition=condition)])
    [first] = (await worker.claim()).deliveries

    await end(worker, "n1", first, 1, status)

    assert ids(await worker.claim()) == (["n2"] if runs else [])
    if not runs:
        assert await is_unknown(graphs, "n2")
        assert await graphs.unfinished("n1", 0, 10) == []


async def test_who_waits_for_a_follow_up_does_not_keep_the_job_above_from_ending(
    graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n1", [node(1), node(2, 1, condition="e")])
    await graphs.status(["n2"], "watcher")
    [first] = (await worker.claim()).deliveries

    await end(worker, "n1", first, 1, Status.SUCCESS)

    assert await outcome_of(graphs, "n1") is not None
    assert await is_unknown(graphs, "n2")
    assert await graphs.unfinished("n1", 0, 10) == []


# ---- growth


async def test_a_job_that_returns_calls_ends_with_their_value(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    assert start == 3

    await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start)

    assert await status_of(graphs, "n1") is Status.WAITING
    assert await status_of(graphs, "n2") is Status.WAITING
    ran = await Run(worker, "n2", {"n4": 4, "n1": 5, "n2": 2}).to_its_end()
    assert ran.waves == [["n4"], ["n1"], ["n2"]]
    assert await graphs.unfinished("n2", 0, 10) == []


async def test_a_plain_job_that_returns_calls_becomes_a_graph(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "plain")
    [plain] = (await worker.claim()).deliveries
    first = await graphs.reserve("plain", 3)
    nodes = [node(first + 1), node(first + 2, first + 1, id="plain")]

    await grow(graphs, "plain", plain, 0, nodes, first=first)

    assert await status_of(graphs, "plain") is Status.WAITING
    ran = await Run(worker, "plain", numbers_of(nodes)).to_its_end()
    assert ran.waves == [[f"n{first + 1}"], ["plain"]]
    assert await outcome_of(graphs, "plain") == sealed_outcome("plain")


async def test_a_value_that_grew_stays_for_those_who_want_it(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", [node(1, result_ttl=0.0), node(2, 1, result_ttl=0.0)])
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await grow(graphs, "n2", first, 1, [node(4, result_ttl=0.0), node(5, 4, id="n1", result_ttl=0.0)], first=start)
    [fourth] = (await worker.claim()).deliveries
    await end(worker, "n2", fourth, 4, result_ttl=0.0)
    [again] = (await worker.claim()).deliveries
    await end(worker, "n2", again, 5, result_ttl=0.0)
    assert await outcome_of(graphs, "n1") == sealed_outcome("n1")

    [second] = (await worker.claim()).deliveries
    await end(worker, "n2", second, 2, result_ttl=0.0)

    assert await is_unknown(graphs, "n1")
    assert await is_unknown(graphs, "n4")


async def test_only_who_holds_a_job_makes_it_grow(graphs: Graphs, worker: Worker, other: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await worker.requeue(first)

    assert await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start) is Taken.NOT_YOURS
    assert ids(await other.claim()) == ["n1"]


async def test_the_accept_of_a_growth_may_be_repeated(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    nodes = [node(4), node(5, 4, id="n1")]
    assert await grow(graphs, "n2", first, 1, nodes, first=start) is Taken.DONE

    assert await grow(graphs, "n2", first, 1, nodes, first=start) is Taken.BEFORE

    assert ids(await worker.claim()) == ["n4"]


async def test_a_worker_that_dies_while_its_job_grows_leaves_the_job_as_it_was(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [_] = (await worker.claim()).deliveries
    await graphs.reserve("n2", 3)
    await graphs.recover(worker.name)
    another = await Worker(graphs, "host.2").enlist()
    [again] = (await another.claim()).deliveries

    await end(another, "n2", again, 1)

    assert ids(await another.claim()) == ["n2"]
    await wait_until_async(lambda: _is_over(graphs, "n1"), description="the end of n1")


async def _is_over(graphs: Graphs, id: str) -> bool:
    return await outcome_of(graphs, id) is not None
