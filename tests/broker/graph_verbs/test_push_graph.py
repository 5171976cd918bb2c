"""push_graph: what is sent is accepted whole, or not at all."""

from __future__ import annotations

import random

import pytest

from aiotask.broker import Push, Room
from aiotask.brokers.graphs import Graphs, Part, Taken
from aiotask.job import Status

from ...graphs import Run, accept, advance_all, chain, end, node, parts, send_graph
from ...seam import Worker, a_push, ids, is_unknown, send, status_of


@pytest.fixture
def many() -> list[Part]:
    found = parts("n900", chain(900))
    assert len(found) > 2
    return found


async def test_a_graph_in_many_parts_runs(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    assert await accept(graphs, many) is Taken.DONE

    assert ids(await worker.claim()) == ["n1"]


async def test_of_what_is_not_accepted_nothing_is_there(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    await accept(graphs, many[:-1])

    assert ids(await worker.claim()) == []
    assert await is_unknown(graphs, "n1")
    assert await graphs.unfinished("n900", 0, 10) == []


async def test_parts_come_in_any_order_and_more_than_once(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    *staged, last = many
    random.Random(1).shuffle(staged)

    assert await accept(graphs, [*staged, *staged, last]) is Taken.DONE

    ran = await Run(worker, "n900", {f"n{n}": n for n in range(1, 901)}).to_its_end()
    assert ran.order == [f"n{n}" for n in range(1, 901)]


async def test_without_a_part_nothing_is_accepted(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    assert await accept(graphs, [many[0], *many[2:]]) is Taken.MISSING

    assert ids(await worker.claim()) == []
    assert await accept(graphs, parts("n900", chain(900))) is Taken.DONE
    assert ids(await worker.claim()) == ["n1"]


async def test_parts_of_an_earlier_staging_do_not_count(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    await accept(graphs, many[:-1])
    anew = parts("n900", chain(900))

    assert await accept(graphs, [anew[0], anew[-1]]) is Taken.MISSING


async def test_a_late_part_changes_nothing(graphs: Graphs, worker: Worker, many: list[Part]) -> None:
    await accept(graphs, many)
    [first] = (await worker.claim()).deliveries
    await end(worker, "n900", first, 1)

    assert [await graphs.push_graph("late", 7, part) for part in many] == [Taken.BEFORE] * len(many)

    assert await status_of(graphs, "n2") is Status.PENDING
    assert ids(await worker.claim()) == ["n2"]


async def test_an_accept_that_is_repeated_is_done_once(graphs: Graphs, worker: Worker) -> None:
    [only] = parts("n2", chain(2))
    assert await graphs.push_graph("client", 1, only) is Taken.DONE
    [first] = (await worker.claim()).deliveries
    await end(worker, "n2", first, 1)

    assert await graphs.push_graph("client", 1, only) is Taken.BEFORE

    assert ids(await worker.claim()) == ["n2"]


async def test_accepts_count_among_the_batches_of_a_client(graphs: Graphs, worker: Worker) -> None:
    await graphs.push("client", 1, [a_push("a")])
    [only] = parts("n1", [node(1)])
    assert await graphs.push_graph("client", 2, only) is Taken.DONE

    await graphs.push("client", 2, [a_push("b")])

    assert sorted(ids(await worker.claim())) == ["a", "n1"]


async def test_a_graph_of_no_jobs_is_at_rest(graphs: Graphs) -> None:
    assert await accept(graphs, parts("empty", [])) is Taken.DONE
    assert (await graphs.steer("empty", replay=True)).answer == "done"


# ---- known ids


async def test_a_known_id_is_not_sent_again(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "root")
    nodes = [node(1), node(2, 1, id="root")]

    assert await accept(graphs, parts("root", nodes, custom=True)) is Taken.KNOWN

    assert ids(await worker.claim()) == ["root"]


async def test_a_graph_is_known_by_its_id(graphs: Graphs, worker: Worker) -> None:
    nodes = [node(1), node(2, 1, id="root")]
    await send_graph(graphs, "root", nodes, custom=True)

    assert await accept(graphs, parts("root", nodes, custom=True)) is Taken.KNOWN


async def test_a_job_is_known_while_it_is_a_waiting_node(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "root", [node(1), node(2, 1, id="root")], custom=True)

    await graphs.push("client", 1, [Push("root", "default", 5, a_push("root").sealed, custom=True)])

    assert ids(await worker.claim()) == ["n1"]
    assert await status_of(graphs, "root") is Status.WAITING


async def test_a_root_whose_outcome_is_forgotten_is_new(graphs: Graphs, worker: Worker) -> None:
    nodes = [node(1), node(2, 1, id="root")]
    await send_graph(graphs, "root", nodes, custom=True)
    await Run(worker, "root", {"n1": 1, "root": 2}).to_its_end()
    await graphs.forget(["root"])

    assert await accept(graphs, parts("root", nodes, custom=True)) is Taken.DONE
    await advance_all(graphs)

    assert (await Run(worker, "root", {"n1": 1, "root": 2}).to_its_end()).order == ["n1", "root"]


# ---- room


async def test_a_full_queue_takes_no_sources(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a", "b")
    room = Room({"default": 3})

    assert await accept(graphs, parts("n3", [node(1), node(2), node(3, 1, 2)]), room=room) is Taken.FULL
    assert sorted(ids(await worker.claim())) == ["a", "b"]
    assert await is_unknown(graphs, "n3")


async def test_waiting_nodes_take_no_room(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a", "b")

    assert await accept(graphs, parts("n50", chain(50)), room=Room({"": 3})) is Taken.DONE
